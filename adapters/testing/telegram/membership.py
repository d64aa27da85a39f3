"""Membership: what a person does to a chat rather than in it, and what bots hear of it."""

from adapters.testing.telegram.accounts import Bot, Json, Profile
from adapters.testing.telegram.chat import Chat, ChatKind, Standing, Topic
from adapters.testing.telegram.chat_api import member_object
from adapters.testing.telegram.message import Content
from adapters.testing.telegram.world import World

TOPIC_COLOUR = 0x6FB9F0
"""The icon of a topic, as RGB (https://core.telegram.org/bots/api#createforumtopic)."""


class Member:
    """Somebody who joins, leaves, invites, removes, blocks, upgrades groups and opens topics."""

    def __init__(self, world: World, profile: Profile) -> None:
        self.profile = profile
        self._world = world

    def joins(self, chat: Chat) -> None:
        """Become a member."""
        chat.members[self.profile.id] = self.profile
        self._service(chat, {"new_chat_members": [self.profile.user()], "new_chat_member": self.profile.user()})

    def leaves(self, chat: Chat) -> None:
        """Stop being a member."""
        self._service(chat, {"left_chat_member": self.profile.user()})
        chat.members.pop(self.profile.id, None)

    def adds(self, chat: Chat, *newcomers: "Member | Bot") -> None:
        """Invite people or bots."""
        for newcomer in newcomers:
            if isinstance(newcomer, Bot):
                self.sets_standing(chat, newcomer, "member")
            else:
                chat.members[newcomer.profile.id] = newcomer.profile
        users = [newcomer.profile.user() for newcomer in newcomers]
        self._service(chat, {"new_chat_members": users, "new_chat_member": users[0]})

    def removes(self, chat: Chat, bot: Bot) -> None:
        """Kick a bot out."""
        self.sets_standing(chat, bot, "kicked")
        self._service(chat, {"left_chat_member": bot.profile.user()})

    def sets_standing(self, chat: Chat, bot: Bot, standing: Standing) -> None:
        """Make a bot an administrator, or whatever else."""
        before = chat.bots.get(bot.id)
        chat.bots[bot.id] = standing
        self._tell_standing(chat, bot, before, standing)

    def blocks(self, bot: Bot) -> None:
        """Stop the bot from writing to this person."""
        chat = self._world.private_chat(bot, self.profile)
        chat.blocked = True
        self._tell_standing(chat, bot, "member", "kicked")

    def unblocks(self, bot: Bot) -> None:
        """Let it write again."""
        chat = self._world.private_chat(bot, self.profile)
        chat.blocked = False
        self._tell_standing(chat, bot, "kicked", "member")

    def upgrades(self, chat: Chat) -> Chat:
        """Make a group a supergroup: another chat with another id, which the bots in both are told of.

        Raises ValueError for what is not a group.
        """
        if chat.kind is not ChatKind.GROUP:
            raise ValueError(f"a {chat.kind} does not become a supergroup: use a group")
        people = chat.members.values()
        supergroup = self._world.new_chat(ChatKind.SUPERGROUP, chat.title, people, chat.bots)
        self._service(chat, {"migrate_to_chat_id": supergroup.id})
        chat.upgraded_to = supergroup.id
        self._service(supergroup, {"migrate_from_chat_id": chat.id})
        return supergroup

    def opens_topic(self, chat: Chat, name: str) -> Topic:
        """Make a topic in a forum, or in a private chat with a bot that has topics."""
        root = self._world.post(
            chat,
            self.profile,
            Content(service={"forum_topic_created": {"name": name, "icon_color": TOPIC_COLOUR}}),
            opens_topic=True,
        )
        return chat.topics[root.id]

    def _service(self, chat: Chat, service: Json) -> None:
        self._world.post(chat, self.profile, Content(service=service))

    def _tell_standing(self, chat: Chat, bot: Bot, before: Standing | None, after: Standing) -> None:
        update = {
            "chat": chat.object(),
            "from": self.profile.user(),
            "date": int(self._world.clock()),
            "old_chat_member": member_object(chat, bot.profile, before),
            "new_chat_member": member_object(chat, bot.profile, after),
        }
        self._world.queues[bot.id].push("my_chat_member", update)

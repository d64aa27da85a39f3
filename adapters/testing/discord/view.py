"""Objects as the API shows them: channels, guilds, members, messages."""

from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel, ChannelType, Guild, Member, Role, ThreadState
from adapters.testing.discord.files import Cdn
from adapters.testing.discord.message import Message, MessageType
from adapters.testing.discord.snowflakes import iso


def role_object(role: Role, position: int) -> Json:
    """https://docs.discord.com/developers/topics/permissions#role-object"""
    body: Json = {
        "id": str(role.id),
        "name": role.name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": position,
        "permissions": str(int(role.permissions)),
        "managed": role.managed_by is not None,
        "mentionable": False,
        "flags": 0,
    }
    return body if role.managed_by is None else body | {"tags": {"bot_id": str(role.managed_by)}}


def partial_member(member: Member) -> Json:
    """A member without the user, as it stands in events."""
    return {
        "nick": member.nick,
        "avatar": None,
        "roles": [str(role) for role in member.roles],
        "joined_at": iso(member.joined_at),
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "premium_since": None,
        "communication_disabled_until": None,
    }


def member_object(member: Member) -> Json:
    """https://docs.discord.com/developers/resources/guild#guild-member-object"""
    return partial_member(member) | {"user": member.user.object()}


def channel_object(channel: Channel) -> Json:
    """https://docs.discord.com/developers/resources/channel#channel-object"""
    if channel.thread is not None:
        return thread_object(channel, channel.thread)
    last = next((str(each.id) for each in reversed(channel.messages) if each.ephemeral_for is None), None)
    body: Json = {"id": str(channel.id), "type": int(channel.type), "last_message_id": last, "flags": 0}
    if channel.guild is None:
        return body | {"recipients": [user.object() for user in channel.recipients if not user.is_bot]}
    if channel.type is ChannelType.GUILD_FORUM:
        body["last_message_id"] = max((str(id_) for id_ in threads_of(channel)), default=None)
        body |= {"available_tags": channel.tags, "default_reaction_emoji": None, "default_sort_order": None}
        body |= {"default_forum_layout": 0, "default_thread_rate_limit_per_user": 0}
    overwrites = [
        {
            "id": str(each.target),
            "type": 0 if each.is_role else 1,
            "allow": str(int(each.allow)),
            "deny": str(int(each.deny)),
        }
        for each in channel.overwrites
    ]
    return body | {
        "guild_id": str(channel.guild.id),
        "name": channel.name,
        "topic": channel.topic,
        "position": list(channel.guild.channels).index(channel.id) if channel.id in channel.guild.channels else 0,
        "nsfw": False,
        "rate_limit_per_user": 0,
        "parent_id": None,
        "permission_overwrites": overwrites,
    }


def threads_of(channel: Channel) -> list[int]:
    """The ids of the threads of a channel."""
    guild = channel.guild
    return [] if guild is None else [each.id for each in guild.threads.values() if each.parent is channel]


def thread_object(channel: Channel, state: ThreadState) -> Json:
    """A thread is a channel with fields of its own."""
    guild, parent = channel.guild, channel.parent
    assert guild is not None
    assert parent is not None
    last = next((str(each.id) for each in reversed(channel.messages) if each.ephemeral_for is None), None)
    return {
        "id": str(channel.id),
        "type": int(channel.type),
        "guild_id": str(guild.id),
        "parent_id": str(parent.id),
        "owner_id": str(state.owner_id),
        "name": channel.name,
        "last_message_id": last,
        "message_count": sum(each.deleted_at is None for each in channel.messages),
        "member_count": min(len(state.members), 50),
        "total_message_sent": state.sent,
        "rate_limit_per_user": 0,
        "flags": 0,
        "applied_tags": [str(tag) for tag in state.tags],
        "thread_metadata": {
            "archived": state.archived,
            "archive_timestamp": iso(state.archived_at or state.created_at),
            "auto_archive_duration": state.auto_archive_minutes,
            "locked": state.locked,
            "create_timestamp": iso(state.created_at),
        },
    }


def thread_member(channel: Channel, user_id: int) -> Json:
    """https://docs.discord.com/developers/resources/channel#thread-member-object"""
    assert channel.thread is not None
    joined = iso(channel.thread.members[user_id])
    return {"id": str(channel.id), "user_id": str(user_id), "join_timestamp": joined, "flags": 0}


def guild_object(guild: Guild) -> Json:
    """https://docs.discord.com/developers/resources/guild#guild-object"""
    return {
        "id": str(guild.id),
        "name": guild.name,
        "owner_id": str(guild.owner_id),
        "roles": [role_object(role, position) for position, role in enumerate(guild.roles.values())],
        "emojis": [],
        "stickers": [],
        "features": [],
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "description": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "application_id": None,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "max_members": 500_000,
    }


def guild_create(guild: Guild, bot: Bot, *, members: bool) -> Json:
    """The event's data. Without `members` only the bot itself is in the list
    (https://docs.discord.com/developers/events/gateway-events#guild-create)."""
    shown = [member for member in guild.members.values() if members or member.user.id == bot.id]
    threads = []
    for thread in guild.threads.values():
        assert thread.thread is not None
        if not thread.thread.archived and thread.permissions(bot.id):
            joined = {"member": thread_member(thread, bot.id)} if bot.id in thread.thread.members else {}
            threads.append(channel_object(thread) | joined)
    return guild_object(guild) | {
        "joined_at": iso(guild.members[bot.id].joined_at),
        "large": False,
        "unavailable": False,
        "member_count": len(guild.members),
        "members": [member_object(member) for member in shown],
        "channels": [channel_object(channel) for channel in guild.channels.values()],
        "threads": threads,
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


class MessageView:
    """Shows messages to bots, without what is withheld from them."""

    def __init__(self, cdn: Cdn) -> None:
        self._cdn = cdn
        self.tells_answered = True
        """False: it is not looked up what a message answers, and `referenced_message` left out."""

    def shown(self, message: Message, bot: Bot, *, reads_content: bool, nonce: bool = False) -> Json:
        """The message object (https://docs.discord.com/developers/resources/message#message-object).

        A bot that does not read content gets it in conversations, in its own messages, and in those that mention it
        (https://docs.discord.com/developers/events/gateway#message-content-intent).
        """
        open_ = reads_content or self._is_open(message, bot)
        body = self._base(message, bot) | self._content(message, withheld=not open_)
        if nonce and message.nonce is not None:
            body["nonce"] = message.nonce
        if message.type in {MessageType.REPLY, MessageType.THREAD_STARTER_MESSAGE} and self.tells_answered:
            answered = message.reply_to
            body["referenced_message"] = None
            if answered is not None and answered.deleted_at is None:
                body["referenced_message"] = self._alone(answered, bot, reads_content=reads_content)
        return body

    def event(self, message: Message, bot: Bot, *, reads_content: bool, nonce: bool = False) -> Json:
        """The data of MESSAGE_CREATE and MESSAGE_UPDATE: with the guild and the author's membership."""
        body = self.shown(message, bot, reads_content=reads_content, nonce=nonce)
        guild = message.channel.guild
        if guild is None:
            return body
        body["guild_id"] = str(guild.id)
        author = guild.members.get(message.author.id)
        if author is not None:
            body["member"] = partial_member(author)
        for mention in body["mentions"]:
            mentioned = guild.members.get(int(mention["id"]))
            if mentioned is not None:
                mention["member"] = partial_member(mentioned)
        return body

    def _alone(self, message: Message, bot: Bot, *, reads_content: bool) -> Json:
        withheld = not (reads_content or self._is_open(message, bot))
        return self._base(message, bot) | self._content(message, withheld=withheld)

    @staticmethod
    def _is_open(message: Message, bot: Bot) -> bool:
        mentioned = any(user.id == bot.id for user in message.content.mentions.users)
        return message.channel.is_dm or message.author.id == bot.id or mentioned

    def _content(self, message: Message, *, withheld: bool) -> Json:
        content = message.content
        if withheld:
            return {"content": "", "embeds": [], "attachments": [], "components": []}
        return {
            "content": content.text,
            "embeds": list(content.embeds),
            "attachments": [self._cdn.object(each) for each in content.attachments],
            "components": list(content.components),
        }

    @staticmethod
    def _base(message: Message, bot: Bot) -> Json:
        mentions, channel = message.content.mentions, message.channel
        edited = message.versions[-1].at if len(message.versions) > 1 else None
        body: Json = {
            "id": str(message.id),
            "channel_id": str(channel.id),
            "type": int(message.type),
            "author": message.author.object(),
            "timestamp": iso(message.sent_at),
            "edited_timestamp": None if edited is None else iso(edited),
            "tts": False,
            "pinned": False,
            "mention_everyone": mentions.everyone,
            "mentions": [user.object() for user in mentions.users],
            "mention_roles": [str(role) for role in mentions.roles],
            "flags": int(message.flags),
        }
        if message.reactions:
            body["reactions"] = [_reaction(emoji, users, bot) for emoji, users in message.reactions.items()]
        if message.reply_to is not None:
            body["message_reference"] = _reference(message.reply_to)
        elif message.type is MessageType.THREAD_CREATED and message.thread is not None:
            body["message_reference"] = {"type": 0, "channel_id": str(message.thread.id)}
        if message.thread is not None and message.type is not MessageType.THREAD_CREATED:
            body["thread"] = channel_object(message.thread)
        if message.author.is_webhook:
            body["webhook_id"] = str(message.author.id)
        if message.interaction is not None:
            owner = str(message.author.id)
            body |= {"interaction_metadata": message.interaction, "application_id": owner, "webhook_id": owner}
        return body


def emoji_object(emoji: str) -> Json:
    """A partial emoji: of Unicode, or a guild's own as `name:id`."""
    name, _, number = emoji.partition(":")
    return {"id": number or None, "name": name}


def _reaction(emoji: str, users: list[User], bot: Bot) -> Json:
    return {
        "emoji": emoji_object(emoji),
        "count": len(users),
        "count_details": {"normal": len(users), "burst": 0},
        "me": any(user.id == bot.id for user in users),
        "me_burst": False,
        "burst_colors": [],
    }


def _reference(message: Message) -> Json:
    guild = {} if message.channel.guild is None else {"guild_id": str(message.channel.guild.id)}
    return {"type": 0, "message_id": str(message.id), "channel_id": str(message.channel.id)} | guild

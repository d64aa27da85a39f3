"""Guilds: who is in them, which channels they have, and what a new session is told of them."""

from collections.abc import Iterable

from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel, Guild, Member, Role
from adapters.testing.discord.ground import Ground
from adapters.testing.discord.intents import Intents
from adapters.testing.discord.permissions import ORDINARY, Permission
from adapters.testing.discord.sessions import Session
from adapters.testing.discord.view import channel_object, guild_create, member_object


class Guilds(Ground):
    """Makes and changes guilds; the bots in them are told."""

    def new_guild(self, name: str, owner: User, people: Iterable[User], bots: Iterable[Bot]) -> Guild:
        """A guild; its bots are told."""
        guild = Guild(self.ids.next(), name, owner.id)
        guild.roles[guild.id] = Role(guild.id, "@everyone", ORDINARY)
        self.guilds[guild.id] = guild
        for user in dict.fromkeys((owner, *people)):
            guild.members[user.id] = Member(user, self.clock())
        for bot in bots:
            self.add_member(guild, bot.user)
        return guild

    def add_member(self, guild: Guild, user: User) -> None:
        """Let somebody join a guild; a bot brings its own role."""
        member = guild.members[user.id] = Member(user, self.clock())
        bot = self.bots.get(user.id)
        if bot is not None:
            role = Role(self.ids.next(), user.name, Permission(0), managed_by=bot.id)
            guild.roles[role.id] = role
            member.roles.append(role.id)
            self.gateway.dispatch(bot, "GUILD_CREATE", lambda to: self.guild_data(guild, to), in_guild=True)
        self.tell_guild(
            guild, "GUILD_MEMBER_ADD", lambda _, __: member_object(member) | {"guild_id": str(guild.id)}, but=user.id
        )

    def remove_member(self, guild: Guild, user: User) -> None:
        """Let somebody leave a guild, or be thrown out."""
        bot = self.bots.get(user.id)
        if bot is not None:
            self.gateway.dispatch(bot, "GUILD_DELETE", lambda _: {"id": str(guild.id)}, in_guild=True)
        guild.members.pop(user.id, None)
        for role in [role for role in guild.roles.values() if role.managed_by == user.id]:
            del guild.roles[role.id]
        body = {"guild_id": str(guild.id), "user": user.object()}
        self.tell_guild(guild, "GUILD_MEMBER_REMOVE", lambda _, __: body)

    def guild_data(self, guild: Guild, session: Session) -> Json:
        """The data of GUILD_CREATE for a session."""
        members = Intents.GUILD_MEMBERS in session.intents and Intents.GUILD_PRESENCES in session.intents
        return guild_create(guild, session.bot, members=members)

    def ready(self, session: Session) -> list[tuple[str, Json]]:
        """What a new session begins with: READY, and a GUILD_CREATE for each guild."""
        bot = session.bot
        guilds = [guild for guild in self.guilds.values() if bot.id in guild.members]
        ready: Json = {
            "v": 10,
            "user": bot.user.object() | {"verified": True, "mfa_enabled": False, "email": None, "flags": 0},
            "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
            "session_type": "normal",
            "shard": [0, 1],
            "application": {"id": str(bot.id), "flags": bot.flags},
            "private_channels": [],
        }
        events = [("READY", ready)]
        if session.wants("GUILD_CREATE", in_guild=True):
            events += [("GUILD_CREATE", self.guild_data(guild, session)) for guild in guilds]
        return events

    def members(self, session: Session, wanted: Json) -> Json | None:
        """The data of GUILD_MEMBERS_CHUNK; None for what the session may not ask
        (https://docs.discord.com/developers/events/gateway-events#request-guild-members)."""
        guild = self.guilds.get(int(wanted.get("guild_id", 0)))
        ids, query = wanted.get("user_ids"), str(wanted.get("query") or "")
        everyone = not ids and not query
        if guild is None or (everyone and Intents.GUILD_MEMBERS not in session.intents):
            return None
        named = {str(each) for each in (ids if isinstance(ids, list) else [ids])}
        found = [
            member_object(member)
            for member in guild.members.values()
            if (str(member.user.id) in named if ids else member.user.name.startswith(query))
        ]
        limit = int(wanted.get("limit") or 0)
        nonce = {"nonce": wanted["nonce"]} if "nonce" in wanted else {}
        base: Json = {"guild_id": str(guild.id), "chunk_index": 0, "chunk_count": 1, "not_found": []}
        return base | {"members": found[:limit] if limit else found} | nonce

    def add_channel(self, channel: Channel) -> Channel:
        """Put a channel into its guild and tell its bots."""
        self.channels[channel.id] = channel
        guild = channel.guild
        assert guild is not None
        guild.channels[channel.id] = channel
        self.tell_guild(guild, "CHANNEL_CREATE", lambda _, __: channel_object(channel))
        return channel

    def channel_changed(self, channel: Channel) -> None:
        """Tell the bots that a channel or thread is not as it was."""
        event = "CHANNEL_UPDATE" if channel.thread is None else "THREAD_UPDATE"
        self.tell_channel(channel, event, lambda _, __: channel_object(channel))

    def remove_channel(self, channel: Channel) -> None:
        """Delete a channel or a thread for everyone."""
        guild = channel.guild
        assert guild is not None
        if channel.thread is None:
            for thread in [each for each in guild.threads.values() if each.parent is channel]:
                self.remove_channel(thread)
            self.tell_guild(guild, "CHANNEL_DELETE", lambda _, __: channel_object(channel))
            del guild.channels[channel.id]
        else:
            names = ("id", "guild_id", "parent_id", "type")
            shown = {name: value for name, value in channel_object(channel).items() if name in names}
            self.tell_channel(channel, "THREAD_DELETE", lambda _, __: shown)
            del guild.threads[channel.id]
        channel.deleted = True
        del self.channels[channel.id]

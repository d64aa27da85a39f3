"""Guilds, channels, conversations and threads.

https://docs.discord.com/developers/resources/channel
"""

from typing import Final

from adapters.testing.discord.accounts import Json, User
from adapters.testing.discord.channel import THREADS, Channel, ChannelType, ThreadState
from adapters.testing.discord.composing import Composer
from adapters.testing.discord.errors import (
    bad_request,
    invalid_form,
    missing_access,
    missing_permissions,
    too_long,
    unknown,
)
from adapters.testing.discord.intents import Intents
from adapters.testing.discord.mentions import PEOPLE
from adapters.testing.discord.message import SYSTEM
from adapters.testing.discord.method import Call, Reply, Route
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.requests import snowflake
from adapters.testing.discord.shapes import sequence, text, whole
from adapters.testing.discord.view import channel_object, guild_object, member_object, role_object, thread_member

MAX_NAME: Final = 100
ARCHIVE_MINUTES: Final = (60, 1440, 4320, 10080)
MAX_MEMBERS: Final = 1000


def get_guild(call: Call) -> Json:
    """A guild that the bot is in."""
    guild = call.guild()
    return guild_object(guild) | {"approximate_member_count": len(guild.members)}


def get_guild_channels(call: Call) -> list[Json]:
    """The channels without threads."""
    return [channel_object(channel) for channel in call.guild().channels.values()]


def get_guild_roles(call: Call) -> list[Json]:
    """All roles."""
    return [role_object(role, position) for position, role in enumerate(call.guild().roles.values())]


def get_guild_members(call: Call) -> list[Json]:
    """By id; only for an application that has the members' intent."""
    guild, limit = call.guild(), call.request.limit(1, MAX_MEMBERS)
    if Intents.GUILD_MEMBERS not in call.bot.privileged:
        raise missing_access()
    after = snowflake("after", call.request.query.get("after", "0"))
    ids = sorted(number for number in guild.members if number > after)
    return [member_object(guild.members[number]) for number in ids[:limit]]


def get_guild_member(call: Call) -> Json:
    """One member; for every application."""
    guild = call.guild()
    member = guild.members.get(call.request.id("user_id"))
    if member is None:
        raise unknown("Member" if call.request.id("user_id") in call.world.users else "User")
    return member_object(member)


def get_channel(call: Call) -> Json:
    """A channel, thread or conversation."""
    channel = call.channel()
    state = channel.thread
    joined = state is not None and call.bot.id in state.members
    return channel_object(channel) | ({"member": thread_member(channel, call.bot.id)} if joined else {})


def edit_channel(call: Call) -> Json:
    """A channel's name and topic; a thread's name, archive and lock."""
    channel, body = call.channel(), call.request.object()
    if channel.is_dm:
        raise bad_request(50024, "Cannot execute action on this channel type")
    name = _name(body.get("name", channel.name))
    if channel.thread is None:
        call.require(channel, Permission.MANAGE_CHANNELS)
        channel.topic = text("topic", body.get("topic", channel.topic)) or None
    else:
        _edit_thread(call, channel, channel.thread, body)
    channel.name = name
    call.world.channel_changed(channel)
    return channel_object(channel)


def _edit_thread(call: Call, thread: Channel, state: ThreadState, body: Json) -> None:
    manages = Permission.MANAGE_THREADS in thread.permissions(call.bot.id)
    if not manages and (state.owner_id != call.bot.id or "locked" in body):
        raise missing_permissions()
    if state.archived and body.get("archived", True):
        raise bad_request(50083, "Thread is archived")
    state.locked = bool(body.get("locked", state.locked))
    state.auto_archive_minutes = _minutes(body, state.auto_archive_minutes)
    if bool(body.get("archived", state.archived)) is not state.archived:
        state.archived = bool(body["archived"])
        state.archived_at = call.world.clock()


def delete_channel(call: Call) -> Json:
    """A channel or thread, with a permission; a conversation stays."""
    channel = call.channel()
    shown = channel_object(channel)
    if channel.guild is None:
        return shown
    call.require(channel, Permission.MANAGE_CHANNELS if channel.thread is None else Permission.MANAGE_THREADS)
    call.world.remove_channel(channel)
    return shown


def create_dm(call: Call) -> Json:
    """The conversation with a person; it may be closed to the bot all the same."""
    number = snowflake("recipient_id", call.request.object().get("recipient_id", ""))
    person = call.world.users.get(number)
    if person is None or person.is_bot:
        raise bad_request(50033, "Invalid Recipient(s)")
    return channel_object(call.world.dm(call.bot, person))


def start_thread_from_message(call: Call) -> Reply:
    """https://docs.discord.com/developers/resources/channel#start-thread-from-message"""
    channel = call.channel(Permission.CREATE_PUBLIC_THREADS)
    message, body = call.message(channel), call.request.object()
    if channel.type not in {ChannelType.GUILD_TEXT, ChannelType.GUILD_ANNOUNCEMENT}:
        raise bad_request(50024, "Cannot execute action on this channel type")
    if message.type in SYSTEM:
        raise bad_request(50068, "Invalid message type")
    if message.thread is not None:
        raise bad_request(160004, "A thread has already been created for this message")
    announces = channel.type is ChannelType.GUILD_ANNOUNCEMENT
    kind = ChannelType.ANNOUNCEMENT_THREAD if announces else ChannelType.PUBLIC_THREAD
    name = _name(body.get("name"))
    minutes = _minutes(body, 4320)
    thread = call.world.open_thread(channel, call.bot.user, name, kind, source=message, minutes=minutes)
    return Reply(201, channel_object(thread) | {"member": thread_member(thread, call.bot.id)})


def start_thread(call: Call) -> Reply:
    """A thread without a message, or a post in a forum."""
    channel, body = call.channel(), call.request.object()
    if channel.type is ChannelType.GUILD_FORUM:
        return _start_post(call, channel, body)
    kind = whole("type", body.get("type"), int(ChannelType.PRIVATE_THREAD))
    if kind not in THREADS or channel.type is not ChannelType.GUILD_TEXT:
        raise bad_request(50024, "Cannot execute action on this channel type")
    private = kind == ChannelType.PRIVATE_THREAD
    call.require(channel, Permission.CREATE_PRIVATE_THREADS if private else Permission.CREATE_PUBLIC_THREADS)
    name, minutes = _name(body.get("name")), _minutes(body, 4320)
    thread = call.world.open_thread(channel, call.bot.user, name, ChannelType(kind), minutes=minutes)
    return Reply(201, channel_object(thread) | {"member": thread_member(thread, call.bot.id)})


def _start_post(call: Call, forum: Channel, body: Json) -> Reply:
    """https://docs.discord.com/developers/resources/channel#start-thread-in-forum-or-media-channel"""
    call.require(forum, Permission.SEND_MESSAGES)
    if not isinstance(body.get("message"), dict):
        raise invalid_form("message", "BASE_TYPE_REQUIRED", "This field is required")
    name, minutes = _name(body.get("name")), _minutes(body, 4320)
    content = Composer(call.world, call.bot, forum, PEOPLE).compose(body["message"], call.request.uploads)
    tags = [snowflake("applied_tags", tag) for tag in sequence("applied_tags", body.get("applied_tags"))]
    thread = call.world.open_thread(forum, call.bot.user, name, ChannelType.PUBLIC_THREAD, minutes=minutes, tags=tags)
    message = call.world.post(thread, call.bot.user, content, id_=thread.id)
    joined = {"member": thread_member(thread, call.bot.id)}
    return Reply(201, channel_object(thread) | joined | {"message": call.show(message)})


def active_threads(call: Call) -> Json:
    """Every thread of the guild that is not archived and that the bot sees."""
    threads = [
        thread
        for thread in call.guild().threads.values()
        if thread.thread is not None
        and not thread.thread.archived
        and Permission.VIEW_CHANNEL in thread.permissions(call.bot.id)
    ]
    return _listed(call, threads)


def archived_threads(call: Call) -> Json:
    """The public threads of a channel that are archived, the last one first."""
    channel = call.channel(Permission.READ_MESSAGE_HISTORY)
    threads = [
        (thread.thread.archived_at, thread)
        for thread in ([] if channel.guild is None else channel.guild.threads.values())
        if thread.parent is channel
        and thread.thread is not None
        and thread.thread.archived
        and thread.type is not ChannelType.PRIVATE_THREAD
    ]
    threads.sort(key=lambda pair: pair[0], reverse=True)
    limit = call.request.limit(50, 100)
    return _listed(call, [thread for _, thread in threads[:limit]]) | {"has_more": len(threads) > limit}


def _listed(call: Call, threads: list[Channel]) -> Json:
    mine = [each for each in threads if each.thread is not None and call.bot.id in each.thread.members]
    return {
        "threads": [channel_object(thread) for thread in sorted(threads, key=lambda each: each.id, reverse=True)],
        "members": [thread_member(thread, call.bot.id) for thread in mine],
    }


def join_thread(call: Call) -> None:
    """The bot itself."""
    thread, state = call.thread()
    _check_not_archived(state)
    call.world.join_thread(thread, call.bot.user)


def leave_thread(call: Call) -> None:
    """The bot itself."""
    thread, state = call.thread()
    _check_not_archived(state)
    call.world.leave_thread(thread, call.bot.user)


def add_thread_member(call: Call) -> None:
    """Somebody else."""
    thread, state = call.thread(Permission.SEND_MESSAGES)
    _check_not_archived(state)
    call.world.join_thread(thread, _member(call, thread))


def remove_thread_member(call: Call) -> None:
    """Somebody else, with a permission or from one's own private thread."""
    thread, state = call.thread()
    _check_not_archived(state)
    if not (thread.type is ChannelType.PRIVATE_THREAD and state.owner_id == call.bot.id):
        call.require(thread, Permission.MANAGE_THREADS)
    call.world.leave_thread(thread, _member(call, thread))


def get_thread_member(call: Call) -> Json:
    """One member of a thread."""
    thread, state = call.thread()
    if call.request.id("user_id") not in state.members:
        raise unknown("Member")
    return thread_member(thread, call.request.id("user_id"))


def get_thread_members(call: Call) -> list[Json]:
    """All of them; only for an application that has the members' intent."""
    thread, state = call.thread()
    if Intents.GUILD_MEMBERS not in call.bot.privileged:
        raise missing_access()
    return [thread_member(thread, number) for number in state.members]


def _member(call: Call, thread: Channel) -> User:
    assert thread.guild is not None
    member = thread.guild.members.get(call.request.id("user_id"))
    if member is None:
        raise unknown("User")
    return member.user


def _check_not_archived(state: ThreadState) -> None:
    if state.archived:
        raise bad_request(50083, "Thread is archived")


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise invalid_form("name", "BASE_TYPE_REQUIRED", "This field is required")
    if len(value) > MAX_NAME:
        raise too_long("name", MAX_NAME)
    return value.strip()


def _minutes(body: Json, default: int) -> int:
    minutes = whole("auto_archive_duration", body.get("auto_archive_duration")) or default
    if minutes not in ARCHIVE_MINUTES:
        raise invalid_form("auto_archive_duration", "BASE_TYPE_CHOICES", f"Value must be one of {ARCHIVE_MINUTES}.")
    return int(minutes)


CHANNEL = "/channels/{channel_id}"
GUILD = "/guilds/{guild_id}"
MEMBERS = CHANNEL + "/thread-members"
ROUTES = (
    Route("get_guild", "GET", GUILD, get_guild),
    Route("get_guild_channels", "GET", GUILD + "/channels", get_guild_channels),
    Route("get_guild_roles", "GET", GUILD + "/roles", get_guild_roles),
    Route("get_guild_members", "GET", GUILD + "/members", get_guild_members),
    Route("get_guild_member", "GET", GUILD + "/members/{user_id}", get_guild_member),
    Route("active_threads", "GET", GUILD + "/threads/active", active_threads),
    Route("create_dm", "POST", "/users/@me/channels", create_dm),
    Route("get_channel", "GET", CHANNEL, get_channel),
    Route("edit_channel", "PATCH", CHANNEL, edit_channel),
    Route("delete_channel", "DELETE", CHANNEL, delete_channel),
    Route("archived_threads", "GET", CHANNEL + "/threads/archived/public", archived_threads),
    Route("start_thread", "POST", CHANNEL + "/threads", start_thread),
    Route("start_thread_from_message", "POST", CHANNEL + "/messages/{message_id}/threads", start_thread_from_message),
    Route("join_thread", "PUT", MEMBERS + "/@me", join_thread),
    Route("leave_thread", "DELETE", MEMBERS + "/@me", leave_thread),
    Route("add_thread_member", "PUT", MEMBERS + "/{user_id}", add_thread_member),
    Route("remove_thread_member", "DELETE", MEMBERS + "/{user_id}", remove_thread_member),
    Route("get_thread_member", "GET", MEMBERS + "/{user_id}", get_thread_member),
    Route("get_thread_members", "GET", MEMBERS, get_thread_members),
)

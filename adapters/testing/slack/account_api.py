"""Methods about accounts and connections, and reactions: auth, apps, bots, users."""

from typing import Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.channel import Channel
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.message import Message
from adapters.testing.slack.method import Call, Rule, page

MAX_PAGE: Final = 1000
SOCKET_MODE_OFF: Final = "[WARN] Socket Mode is not turned on."


def auth_test(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/auth.test"""
    bot = call.bot
    return {
        "url": f"https://{bot.team.domain}.slack.com/",
        "team": bot.team.name,
        "user": bot.profile.name.lower(),
        "team_id": bot.team.id,
        "user_id": bot.id,
        "bot_id": bot.bot_id,
        "is_enterprise_install": False,
    }


def connections_open(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/apps.connections.open; an address is also given where Socket Mode is
    off, with a warning that says so."""
    app = call.request.app
    assert app is not None
    ticket = call.world.feeds[app.id].sockets.ticket()
    address = call.world.base_url.replace("http://", "ws://", 1)
    answer: Json = {"url": f"{address}/link/?ticket={ticket}&app_id={app.id}"}
    return answer if app.socket_mode else answer | {"response_metadata": {"messages": [SOCKET_MODE_OFF]}}


def bots_info(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/bots.info"""
    wanted = call.request.needed("bot")
    for profile in call.world.profiles.values():
        if profile.bot_id == wanted and profile.team is call.bot.team:
            return {"bot": profile.bot_profile() | {"user_id": profile.id}}
    raise ApiError("bot_not_found")


def users_info(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/users.info"""
    profile = call.world.profiles.get(call.request.needed("user"))
    if profile is None or profile.team is not call.bot.team:
        raise ApiError("user_not_found")
    return {"user": profile.user()}


def users_list(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/users.list"""
    everyone = [each for each in call.world.profiles.values() if each.team is call.bot.team]
    some, following = page(everyone, call.request, MAX_PAGE, MAX_PAGE)
    return {"members": [each.user() for each in some]} | following


def reactions_add(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/reactions.add"""
    name, message = _reaction(call)
    users = message.reactions.setdefault(name, [])
    if call.bot.id in users:
        raise ApiError("already_reacted")
    users.append(call.bot.id)
    tell_reaction(call, message, name, added=True)
    return {}


def reactions_remove(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/reactions.remove"""
    name, message = _reaction(call)
    users = message.reactions.get(name, [])
    if call.bot.id not in users:
        raise ApiError("no_reaction")
    users.remove(call.bot.id)
    if not users:
        del message.reactions[name]
    tell_reaction(call, message, name, added=False)
    return {}


def tell_reaction(call: Call, message: Message, name: str, *, added: bool) -> None:
    """The event of a reaction."""
    event = reaction_event(message, call.bot.id, name, call.world.event_ts(), added=added)
    for bot in call.world.bots_in(message.channel):
        call.world.emit(bot, str(event["type"]), event)
    call.world.changes.note()


def reaction_event(message: Message, user: str, name: str, event_ts: str, *, added: bool) -> Json:
    """https://docs.slack.dev/reference/events/reaction_added"""
    return {
        "type": "reaction_added" if added else "reaction_removed",
        "user": user,
        "reaction": name,
        "item_user": message.sender.id,
        "item": {"type": "message", "channel": message.channel.id, "ts": message.ts},
        "event_ts": event_ts,
    }


def _reaction(call: Call) -> tuple[str, Message]:
    channel: Channel = call.channel()
    name = call.request.needed("name").strip(":")
    if not name.replace("_", "").replace("-", "").replace("+", "").replace("'", "").replace(":", "").isalnum():
        raise ApiError("invalid_name")
    message = channel.find(call.request.needed("timestamp"))
    if message is None:
        raise ApiError("message_not_found")
    return name, message


METHODS: Final = {
    "auth.test": Rule(auth_test, tier=4),
    "apps.connections.open": Rule(connections_open, app_level=True),
    "bots.info": Rule(bots_info, ("users:read",)),
    "users.info": Rule(users_info, ("users:read",), tier=4),
    "users.list": Rule(users_list, ("users:read",), tier=2),
    "reactions.add": Rule(reactions_add, ("reactions:write",)),
    "reactions.remove": Rule(reactions_remove, ("reactions:write",), tier=2),
}

"""The bot's account, its application, the gateway's address, and the application commands.

https://docs.discord.com/developers/interactions/application-commands
"""

import re
from collections.abc import Sequence
from typing import Final

from adapters.testing.discord.accounts import Bot, Json
from adapters.testing.discord.errors import bad_request, forbidden, invalid_form, missing_access, too_long, unknown
from adapters.testing.discord.method import Call, Reply, Route
from adapters.testing.discord.shapes import objects, text, whole

CHAT_INPUT: Final = 1
MAX_COMMANDS: Final = 100
"""Chat input commands of an application, everywhere or in one guild."""
MAX_OPTIONS: Final = 25
MAX_DESCRIPTION: Final = 100
NAME: Final = re.compile(r"[-_'\w]{1,32}")
"""Names of commands are in lower case where the script has one
(https://docs.discord.com/developers/interactions/application-commands#application-command-object)."""
NESTED: Final = (1, 2)
"""Options that are commands or groups themselves."""


def gateway(call: Call) -> Json:
    """https://docs.discord.com/developers/events/gateway#get-gateway"""
    return {"url": call.settings.gateway_url()}


def gateway_bot(call: Call) -> Json:
    """https://docs.discord.com/developers/events/gateway#get-gateway-bot"""
    limit = {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 1}
    return {"url": call.settings.gateway_url(), "shards": 1, "session_start_limit": limit}


def my_user(call: Call) -> Json:
    """The bot itself."""
    own = {"verified": True, "mfa_enabled": False, "locale": "en-US", "email": None, "flags": 0, "bio": ""}
    return call.bot.user.object() | own


def get_user(call: Call) -> Json:
    """Anybody."""
    user = call.world.users.get(call.request.id("user_id"))
    if user is None:
        raise unknown("User")
    return user.object()


def my_guilds(call: Call) -> list[Json]:
    """The guilds that the bot is in."""
    return [
        {
            "id": str(guild.id),
            "name": guild.name,
            "icon": None,
            "owner": guild.owner_id == call.bot.id,
            "permissions": str(int(guild.permissions(call.bot.id))),
            "features": [],
        }
        for guild in call.world.guilds.values()
        if call.bot.id in guild.members
    ]


def my_application(call: Call) -> Json:
    """The application; its flags tell which privileged intents are switched on."""
    return application_object(call.bot)


def application_object(bot: Bot) -> Json:
    """https://docs.discord.com/developers/resources/application#application-object"""
    owner = {"id": "1", "username": "operator", "discriminator": "0", "avatar": None, "global_name": None}
    return {
        "id": str(bot.id),
        "name": bot.user.name,
        "icon": None,
        "description": "",
        "summary": "",
        "bot_public": False,
        "bot_require_code_grant": False,
        "bot": bot.user.object(),
        "owner": owner,
        "team": None,
        "verify_key": "0" * 64,
        "flags": bot.flags,
        "tags": [],
        "interactions_endpoint_url": None,
        "approximate_guild_count": 1,
        "integration_types_config": {"0": {}},
    }


def get_commands(call: Call) -> list[Json]:
    """All commands of one place."""
    return list(_place(call).values())


def overwrite_commands(call: Call) -> list[Json]:
    """Put a whole list in the place of what is there; a command that keeps its name keeps its id."""
    place, guild_id = _place(call), _guild_id(call)
    wanted = call.request.objects()
    if len(wanted) > MAX_COMMANDS:
        raise bad_request(30032, f"Maximum number of application commands reached ({MAX_COMMANDS})")
    for index, body in enumerate(wanted):
        _check(body, f"{index}.")
    keys = [_key(body) for body in wanted]
    if len(set(keys)) < len(keys):
        raise invalid_form("_", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
    before = {_key(command): command for command in place.values()}
    place.clear()
    for body in wanted:
        _store(call, place, body, guild_id, before.get(_key(body)))
    return list(place.values())


def create_command(call: Call) -> Reply:
    """Add a command; it takes the place of one with the same name."""
    place, body = _place(call), call.request.object()
    _check(body, "")
    before = next((each for each in place.values() if _key(each) == _key(body)), None)
    if before is None and len(place) >= MAX_COMMANDS:
        raise bad_request(30032, f"Maximum number of application commands reached ({MAX_COMMANDS})")
    return Reply(200 if before else 201, _store(call, place, body, _guild_id(call), before))


def get_command(call: Call) -> Json:
    """One command."""
    return _command(call)


def edit_command(call: Call) -> Json:
    """Change what is named."""
    command = _command(call)
    body = command | call.request.object()
    _check(body, "")
    return _store(call, _place(call), body, _guild_id(call), command)


def delete_command(call: Call) -> None:
    """Remove a command."""
    command = _command(call)
    del _place(call)[int(command["id"])]


def _command(call: Call) -> Json:
    command = _place(call).get(call.request.id("command_id"))
    if command is None:
        raise unknown("application command")
    return command


def _guild_id(call: Call) -> int | None:
    return call.request.id("guild_id") if "guild_id" in call.request.ids else None


def _place(call: Call) -> dict[int, Json]:
    if call.request.id("application_id") != call.bot.id:
        raise forbidden(20012, "You are not authorized to perform this action on this application")
    guild_id = _guild_id(call)
    if guild_id is not None and guild_id not in call.world.guilds:
        raise missing_access()
    return call.world.commands.setdefault((call.bot.id, guild_id), {})


def _kind(body: Json) -> int:
    return whole("type", body.get("type")) or CHAT_INPUT


def _key(body: Json) -> tuple[str, int]:
    return text("name", body.get("name")), _kind(body)


def _check(body: Json, where: str) -> None:
    name, kind = _key(body)
    if kind != CHAT_INPUT:
        if not 1 <= len(name) <= 32:
            raise invalid_form(f"{where}name", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 32 in length.")
        return
    _check_named(body, where)
    _check_options(objects("options", body.get("options")), f"{where}options.")


def _check_named(body: Json, where: str) -> None:
    name = text(f"{where}name", body.get("name"))
    if not NAME.fullmatch(name) or name != name.lower():
        raise invalid_form(f"{where}name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    description = text(f"{where}description", body.get("description"))
    if not description:
        raise invalid_form(f"{where}description", "BASE_TYPE_REQUIRED", "This field is required")
    if len(description) > MAX_DESCRIPTION:
        raise too_long(f"{where}description", MAX_DESCRIPTION)


def _check_options(options: Sequence[Json], where: str) -> None:
    if len(options) > MAX_OPTIONS:
        raise invalid_form(where.rstrip("."), "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_OPTIONS} or fewer in length.")
    optional = False
    for index, option in enumerate(options):
        at = f"{where}{index}."
        _check_named(option, at)
        if option.get("required") and optional:
            raise invalid_form(
                at.rstrip("."), "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", "Required options come first"
            )
        nested = whole(f"{at}type", option.get("type")) in NESTED
        optional = optional or not (option.get("required") or nested)
        _check_options(objects(f"{at}options", option.get("options")), f"{at}options.")


def _store(call: Call, place: dict[int, Json], body: Json, guild_id: int | None, before: Json | None) -> Json:
    number = call.world.ids.next() if before is None else int(before["id"])
    command: Json = {
        "id": str(number),
        "application_id": str(call.bot.id),
        "version": str(call.world.ids.next()),
        "default_member_permissions": body.get("default_member_permissions"),
        "type": _kind(body),
        "name": body["name"],
        "name_localizations": body.get("name_localizations"),
        "description": body.get("description") or "",
        "description_localizations": body.get("description_localizations"),
        "options": body.get("options") or [],
        "nsfw": bool(body.get("nsfw")),
        "integration_types": body.get("integration_types") or [0],
        "contexts": body.get("contexts"),
    }
    place[number] = command if guild_id is None else command | {"guild_id": str(guild_id)}
    return place[number]


EVERYWHERE = "/applications/{application_id}/commands"
IN_GUILD = "/applications/{application_id}/guilds/{guild_id}/commands"
ROUTES = (
    Route("gateway", "GET", "/gateway", gateway, open_=True),
    Route("gateway_bot", "GET", "/gateway/bot", gateway_bot),
    Route("my_user", "GET", "/users/@me", my_user),
    Route("my_guilds", "GET", "/users/@me/guilds", my_guilds),
    Route("get_user", "GET", "/users/{user_id}", get_user),
    Route("my_application", "GET", "/applications/@me", my_application),
    Route("my_application", "GET", "/oauth2/applications/@me", my_application),
    *(
        route
        for prefix, path in (("", EVERYWHERE), ("guild_", IN_GUILD))
        for route in (
            Route(f"get_{prefix}commands", "GET", path, get_commands),
            Route(f"overwrite_{prefix}commands", "PUT", path, overwrite_commands),
            Route(f"create_{prefix}command", "POST", path, create_command),
            Route(f"get_{prefix}command", "GET", path + "/{command_id}", get_command),
            Route(f"edit_{prefix}command", "PATCH", path + "/{command_id}", edit_command),
            Route(f"delete_{prefix}command", "DELETE", path + "/{command_id}", delete_command),
        )
    ),
)

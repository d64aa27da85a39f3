"""The commands that Discord offers while people type: told to it only when they differ from those that it has."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import discord

from adapters.discord.constants import MAX_ARGUMENTS, MAX_COMMANDS, MAX_DESCRIPTION
from adapters.discord.failures import CALL_ERRORS, in_short

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[-_a-z0-9]{1,32}")
"""What we name commands with, of what Discord allows
(https://docs.discord.com/developers/interactions/application-commands#application-command-object)."""

IN_GUILD: Final = 0
IN_DM: Final = 1
"""Where a command can be used
(https://docs.discord.com/developers/interactions/receiving-and-responding#interaction-object-interaction-context-types)."""

_TEXT: Final = 3
"""The type of an option that takes text."""

_COMPARED: Final = ("name", "description", "type", "options", "contexts")

Payload = dict[str, Any]


def payloads(commands: Sequence[tuple[str, str]], contexts: Sequence[int]) -> list[Payload]:
    """Commands as Discord takes them, each with one field for whatever follows it."""
    return [
        {
            "name": name,
            "description": help_line[:MAX_DESCRIPTION],
            "type": discord.AppCommandType.chat_input.value,
            "options": [
                {
                    "type": _TEXT,
                    "name": "arguments",
                    "description": "What follows the command, if anything",
                    "required": False,
                    "max_length": MAX_ARGUMENTS,
                }
            ],
            "contexts": list(contexts),
        }
        for name, help_line in commands
        if _NAME.fullmatch(name) and help_line
    ][:MAX_COMMANDS]


async def sync_commands(client: discord.Client, commands: Sequence[tuple[str, str]], guild_ids: Sequence[str]) -> None:
    """Make Discord offer these commands. Those of single guilds serve these guilds, the global ones what is left.

    Without it commands work all the same as text, so failing is no error.
    """
    application = client.application_id
    if application is None:
        return
    everywhere = payloads(commands, [IN_DM] if guild_ids else [IN_GUILD, IN_DM])
    http: Any = client.http
    try:
        if _differ(await http.get_global_commands(application), everywhere):
            await http.bulk_upsert_global_commands(application, everywhere)
    except CALL_ERRORS as error:
        log.warning("Discord's menu of commands could not be set: %s", in_short(error))
    for guild_id in guild_ids:
        wanted = [{key: value for key, value in each.items() if key != "contexts"} for each in everywhere]
        try:
            if _differ(await http.get_guild_commands(application, int(guild_id)), wanted):
                await http.bulk_upsert_guild_commands(application, int(guild_id), wanted)
        except CALL_ERRORS as error:
            log.warning("the menu of commands of guild %s could not be set: %s", guild_id, in_short(error))


def _differ(there: Sequence[Mapping[str, Any]], wanted: Sequence[Payload]) -> bool:
    return sorted(map(_known_by, there)) != sorted(map(_known_by, wanted))


def _known_by(command: Mapping[str, Any]) -> str:
    """What tells one version of a command from another; what Discord adds of its own is left out."""
    shown = {key: command.get(key) for key in _COMPARED}
    shown["options"] = [
        {key: value for key, value in option.items() if value not in (None, False, [])}
        for option in command.get("options") or ()
    ]
    shown["contexts"] = sorted(command.get("contexts") or ())
    return repr(sorted(shown.items()))

"""The commands that Discord offers while people type: told to it only when they differ from those that it has."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import discord

from adapters.base import AdapterHost, Cursor, NotStoredError
from adapters.connection import Sleep
from adapters.discord.constants import MAX_ARGUMENTS, MAX_COMMANDS, MAX_DESCRIPTION, Timing
from adapters.discord.failures import CALL_ERRORS, MISSING_ACCESS, in_short, is_passing, retry_after

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[-_a-z0-9]{1,32}")
"""What we name commands with, of what Discord allows
(https://docs.discord.com/developers/interactions/application-commands#application-command-object)."""

IN_GUILD: Final = 0
IN_DM: Final = 1
"""Where a command can be used
(https://docs.discord.com/developers/interactions/receiving-and-responding#interaction-object-interaction-context-types)."""

GUILDS: Final = "menu"
"""The name of the position that holds the ids of the guilds that were given commands of their own."""

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


class Menu:
    """Makes Discord offer the host's commands. Those of single guilds serve these guilds, the global ones what is left.

    Without it commands work all the same as text, so failing is no error: what may succeed later is tried again.
    """

    def __init__(
        self, client: discord.Client, host: AdapterHost, timing: Timing, sleep: Sleep, guild_ids: Sequence[str]
    ) -> None:
        self._client = client
        self._host = host
        self._timing = timing
        self._sleep = sleep
        self._guild_ids = frozenset(guild_ids)

    async def sync(self) -> None:
        """Tell Discord what differs from what it has."""
        wait = self._timing.first_wait
        while True:
            try:
                await self._sync()
            except (*CALL_ERRORS, NotStoredError) as error:
                log.info("Discord's menu of commands cannot be set now: %s", in_short(error))
                await self._sleep(max(wait, retry_after(error) or 0.0))
                wait = min(2 * wait, self._timing.longest_wait)
            else:
                return

    async def _sync(self) -> None:
        before = frozenset(filter(None, (await self._host.cursor(GUILDS) or "").split(",")))
        await self._note(before | self._guild_ids)
        everywhere = payloads(self._host.commands, [IN_DM] if self._guild_ids else [IN_GUILD, IN_DM])
        in_guilds = [{key: value for key, value in each.items() if key != "contexts"} for each in everywhere]
        await self._offer(None, everywhere)
        for guild_id in sorted(self._guild_ids):
            await self._offer(guild_id, in_guilds)
        for guild_id in sorted(before - self._guild_ids):
            await self._offer(guild_id, [])
        await self._note(self._guild_ids)

    async def _note(self, guild_ids: frozenset[str]) -> None:
        """Remember which guilds have commands of their own: nobody else would take these away again."""
        value = ",".join(sorted(guild_ids))
        if value != (await self._host.cursor(GUILDS) or ""):
            await self._host.keep((), Cursor(GUILDS, value))

    async def _offer(self, guild_id: str | None, wanted: list[Payload]) -> None:
        """Let a guild, or every place, have these commands. Raises what may pass."""
        http: Any = self._client.http
        application = self._client.application_id
        try:
            if guild_id is None:
                if _differ(await http.get_global_commands(application), wanted):
                    await http.bulk_upsert_global_commands(application, wanted)
            elif _differ(await http.get_guild_commands(application, int(guild_id)), wanted):
                await http.bulk_upsert_guild_commands(application, int(guild_id), wanted)
        except CALL_ERRORS as error:
            if is_passing(error):
                raise
            if wanted:
                whose = "" if guild_id is None else f" of server {guild_id}"
                log.warning("Discord's menu of commands%s could not be set: %s%s", whose, in_short(error), _hint(error))


def _hint(error: Exception) -> str:
    lacking = isinstance(error, discord.HTTPException) and error.code == MISSING_ACCESS
    return "; invite the bot there once more, with the scope applications.commands" if lacking else ""


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

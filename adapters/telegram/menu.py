"""The menu of commands that Telegram shows beside the field for text."""

import logging
import re
from collections.abc import Sequence
from typing import Final

from telegram import Bot, BotCommand
from telegram.error import TelegramError

from adapters.telegram.constants import MAX_COMMANDS, MAX_DESCRIPTION

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[a-z0-9_]{1,32}")
"""https://core.telegram.org/bots/api#botcommand"""


async def set_menu(bot: Bot, commands: Sequence[tuple[str, str]]) -> None:
    """Make the menu show these commands, unless it does; without it they work all the same, so failing is no error."""
    wanted = [
        (name, help_line[:MAX_DESCRIPTION]) for name, help_line in commands if _NAME.fullmatch(name) and help_line
    ]
    wanted = wanted[:MAX_COMMANDS]
    try:
        shown = [(each.command, each.description) for each in await bot.get_my_commands()]
        if shown != wanted:
            await bot.set_my_commands([BotCommand(name, help_line) for name, help_line in wanted])
    except TelegramError as error:
        log.warning("Telegram's menu of commands could not be set: %s", error)

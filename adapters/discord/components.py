"""Buttons below a message; a menu where there are too many of them."""

from collections.abc import Sequence
from typing import Any

import discord

from adapters.base import Button, Delivery
from adapters.discord.constants import MAX_CUSTOM_ID, MAX_LABEL, MAX_OPTION_LABEL, MENU_OPTIONS, ROWS
from adapters.discord.interactions import custom_id


def view_of(delivery: Delivery) -> discord.ui.View | None:
    """The delivery's buttons, but for those whose command is longer than Discord keeps.

    What is pressed is told by its id, also after a restart, so that the library need not remember the view.
    """
    rows = [[button for button in row if _fits(button)] for row in delivery.buttons]
    rows = [row for row in rows if row]
    if not rows:
        return None
    view = discord.ui.View(timeout=None)
    if len(rows) <= ROWS and all(len(row) <= ROWS for row in rows):
        _add_buttons(view, rows)
    else:
        view.add_item(_menu([button for row in rows for button in row][:MENU_OPTIONS]))
    view.stop()
    return view


def _fits(button: Button) -> bool:
    return bool(button.label) and 1 <= len(custom_id(MENU_OPTIONS, button.command)) <= MAX_CUSTOM_ID


def _add_buttons(view: discord.ui.View, rows: Sequence[Sequence[Button]]) -> None:
    number = 0
    for row, buttons in enumerate(rows):
        for button in buttons:
            view.add_item(
                discord.ui.Button[Any](
                    label=button.label[:MAX_LABEL], custom_id=custom_id(number, button.command), row=row
                )
            )
            number += 1


def _menu(buttons: Sequence[Button]) -> "discord.ui.Select[Any]":
    options = [
        discord.SelectOption(label=button.label[:MAX_OPTION_LABEL], value=custom_id(number, button.command))
        for number, button in enumerate(buttons)
    ]
    return discord.ui.Select[Any](custom_id="menu", options=options)

"""Buttons below a message; menus where there are too many of them."""

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
        _add_menus(view, [button for row in rows for button in row][: ROWS * MENU_OPTIONS])
    view.stop()
    return view


def _fits(button: Button) -> bool:
    return bool(button.label) and 1 <= len(custom_id(ROWS * MENU_OPTIONS, button.command)) <= MAX_CUSTOM_ID


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


def _add_menus(view: discord.ui.View, buttons: Sequence[Button]) -> None:
    """A menu for each page of what there is to choose from; it says which page it is."""
    for row, first in enumerate(range(0, len(buttons), MENU_OPTIONS)):
        page = buttons[first : first + MENU_OPTIONS]
        options = [
            discord.SelectOption(label=button.label[:MAX_OPTION_LABEL], value=custom_id(first + number, button.command))
            for number, button in enumerate(page)
        ]
        shown = f"{first + 1} to {first + len(page)} of {len(buttons)}" if len(buttons) > MENU_OPTIONS else None
        view.add_item(discord.ui.Select[Any](custom_id=f"menu{row or ''}", placeholder=shown, options=options, row=row))

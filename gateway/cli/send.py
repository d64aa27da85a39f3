"""Owns `send`: a message to people from a script, through the gateway that runs."""

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import Json, examples, find_home
from gateway.cli.output import print_json, say

if TYPE_CHECKING:
    from config import Home

MAX_INPUT_BYTES: Final = 1024 * 1024
"""As much of standard input as is read; a message may have less."""

SEND_EXAMPLES: Final = examples(
    'hermes-gateway send --to telegram:123456789 "The backup is done."',
    "df -h | hermes-gateway send --to slack:C0123456789",
    "hermes-gateway send --to telegram < report.md             to Telegram's home channel",
    'hermes-gateway send --to telegram --once "backup $(date +%F)" "Done."     one a day, however often it runs',
)


def send(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="Where it goes: platform:chat, platform:chat:thread, or a platform that has a home channel.",
        ),
    ],
    text: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="The message; without it, standard input.")
    ] = None,
    once: Annotated[
        str | None,
        typer.Option("--once", metavar="ID", help="Send one message under this id to a target, however often."),
    ] = None,
    json: Json = False,
) -> None:
    """Send a message to people, through the gateway that runs.

    It is on disk when the command ends with 0; the gateway then delivers it, again and again where a platform has
    trouble. No agent reads it.
    """
    from gateway.status import reason_of

    message = " ".join(text) if text else _standard_input()
    if not message.strip():
        raise CommandError("there is nothing to send: write a text, or pipe one in")
    answer = asyncio.run(_send(find_home(), {"target": to, "text": message, "once": once}))
    if not answer.get("ok"):
        raise CommandError(reason_of(answer))
    if json:
        print_json({"status": answer["status"], "target": answer["target"]})
    elif answer["status"] == "duplicate":
        say(f"That was sent to {answer['target']} before; it is not sent again.")
    else:
        say(f"On its way to {answer['target']}.")


def _standard_input() -> str:
    """What is piped in; a person at a terminal is told how that ends. Raises `CommandError`."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        say("Write the message; Ctrl-D on a line of its own sends it, Ctrl-C does not.")
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise CommandError(f"standard input is too long for a message: at most {MAX_INPUT_BYTES // 1024} KiB are read")
    return data.decode("utf-8", "replace").strip("\n")


async def _send(home: "Home", request: Mapping[str, Any]) -> Mapping[str, Any]:
    from gateway.status import ask_to_send

    answer = await ask_to_send(home.socket, request)
    if answer is None:
        raise CommandError("no gateway runs in this home; start it with `hermes-gateway run`, and send it again")
    return answer

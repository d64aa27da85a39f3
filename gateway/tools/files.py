"""The tool that sends a file."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import target_of
from gateway.media.outgoing import OutgoingFiles, RefusedFileError
from gateway.media.words import describe_file
from gateway.ports import Clock, Target, Tool, ToolContext
from gateway.storage.codec import clean_text
from gateway.storage.database import Database

SEND_FILE: Final = "send_file"

_PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "Absolute path of a file that exists on this machine."},
        "caption": {"type": "string", "description": "A short text to stand below the file."},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def send_file_tool(
    files: OutgoingFiles,
    database: Database,
    clock: Clock,
    offer: Callable[[Target], object],
    redact: Callable[[str], str] = str,
) -> Tool:
    """The tool `send_file`: it puts a file in the outbox, once however often the same call is run.

    `offer` is told where there is something to deliver. What `redact` leaves of a caption is seen.
    """

    async def send(arguments: Mapping[str, Any], context: ToolContext) -> str:
        path, caption = arguments.get("path"), arguments.get("caption")
        if not isinstance(path, str) or not isinstance(caption, str | None):
            return "Error: path must be a text, and caption too where there is one."
        key = f"{context.turn_id}:{context.call_id}"
        caption = redact(clean_text(caption or ""))
        try:
            file = await files.take(path, session_id=context.session_id, key=key, caption=caption)
        except RefusedFileError as error:
            return f"Error: {error}."
        target = target_of(context.source, context.account, context.reply_thread)
        delivery = NewDelivery(
            target,
            "file",
            describe_file(file),
            session_id=context.session_id,
            turn_id=context.turn_id,
            file=file,
            key=key,
        )
        now = clock.now()

        def job(connection: sqlite3.Connection) -> None:
            add_delivery(connection, delivery, now)

        await database.write(job)
        offer(target)
        return f"{file.name} is on its way. People see it in the chat; there is no need to name its path."

    return Tool(
        SEND_FILE,
        "Send a file to the person you are talking with, as an attachment in this chat.",
        _PARAMETERS,
        send,
        idempotent=True,
    )

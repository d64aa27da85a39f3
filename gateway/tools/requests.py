"""What the session tools are asked: typed arguments with their schemas, and the same in lines of text."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SESSION_ID: Final = "Its exact id, as list_sessions gives it."

ACTIONS: Final = "rename|archive|delete|important|truncate|fork|list|switch"
MISSING_ACTION: Final = f"Missing action ({ACTIONS})"
MISSING_SESSION: Final = "Need a session_id (or 'current' for the active chat)"

_ID_NAMES: Final = ("session_id", "session", "id")
_VALUE_NAMES: Final = ("value", "name", "new_name", "title", "keep_count")

READ_ONLY: Final = frozenset({"list_sessions", "search_sessions"})
"""Tools that change nothing."""

MANAGE: Final = "manage_session"

KEPT_BY_DEFAULT: Final = 10
"""Messages that `truncate` keeps where nothing is said."""

SHOWN: Final = 200
"""Characters that are shown back of what could not be read."""


class ToolError(Exception):
    """A call cannot be carried out; `str()` tells the agent why, and what to do instead."""


class Request(BaseModel):
    """The arguments of one tool."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    lines: ClassVar[str] = ""
    """What to write where the arguments are given as lines of text."""

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Self:
        """The request that these arguments are: by name, or all of them in `content`, line by line.

        Raises `ToolError`.
        """
        if set(arguments) == {"content"}:
            content = arguments["content"]
            if not isinstance(content, str | None):
                raise ToolError("content must be a text")
            return cls.of_text(content or "")
        return cls.of_values(arguments)

    @classmethod
    def of_values(cls, arguments: Mapping[str, Any]) -> Self:
        """The request of named arguments. Raises `ToolError`."""
        try:
            return cls.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolError(_explained(error)) from None

    @classmethod
    @abstractmethod
    def of_text(cls, text: str) -> Self:
        """The request of lines. Raises `ToolError`."""

    @classmethod
    def arguments_schema(cls) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        schema = cls.model_json_schema()
        properties = schema.get("properties", {})
        for name in properties:
            properties[name].pop("title", None)
        properties["content"] = {"type": "string", "description": f"In place of all others, {cls.lines}."}
        return {"type": "object", "properties": properties, "additionalProperties": False}


class CreateSession(Request):
    """What a new session is called, and who answers in it."""

    lines: ClassVar[str] = "two lines: the session's name, then the agent or model"

    name: str = Field(description="What it is called.")
    model: str = Field(
        default="", description="Who answers: an agent's name, or its model as provider:model; empty for the default."
    )

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Line 1 is the name, line 2 the model; more are left out."""
        found = text.strip().splitlines()
        if len(found) < 2 or not found[0].strip() or not found[1].strip():
            raise ToolError("Need 2 lines: session name, then model spec")
        return cls(name=found[0].strip(), model=found[1].strip())


class ListSessions(Request):
    """Which sessions are listed."""

    lines: ClassVar[str] = "words that the names have in them"

    filter: str = Field(default="", description="Only those with this in their names, in capitals or not.")

    @classmethod
    def of_text(cls, text: str) -> Self:
        """The whole text is the filter."""
        return cls(filter=text.strip())


class SendToSession(Request):
    """What is written to another session."""

    lines: ClassVar[str] = "lines: the session's id, then the message"

    session_id: str = Field(description=SESSION_ID)
    message: str = Field(description="What its agent is to answer.")

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Line 1 is the id, the rest the message."""
        first, _, rest = text.strip().partition("\n")
        if not first.strip() or not rest.strip():
            raise ToolError("Need 2 lines: session_id, then message")
        return cls(session_id=first.strip(), message=rest)


class ManageSession(Request):
    """What is done with a session."""

    lines: ClassVar[str] = "lines: the action, the session's id, the value; or all of it as one JSON object"

    action: str = Field(
        description="What to do.",
        json_schema_extra={
            "enum": [
                *("list", "switch", "open", "rename", "archive", "unarchive"),
                *("delete", "important", "unimportant", "truncate", "fork"),
            ]
        },
    )
    session_id: str = Field(default="", description=f"{SESSION_ID} 'current' is the one that you are in.")
    value: str = Field(
        default="",
        description="rename: the new name. truncate: how many messages are kept, 10 by default. fork: how many of the"
        " first messages are copied, all by default.",
        json_schema_extra={"type": ["string", "integer"]},
    )
    keep: Literal["first", "last"] = Field(default="last", description="Which end of it truncate keeps.")
    filter: str = Field(default="", description="For list, as in list_sessions.")

    @classmethod
    def of_values(cls, arguments: Mapping[str, Any]) -> Self:
        """Named arguments, under the other names that are in use for them too."""
        action = arguments.get("action")
        known = {"action", "keep", "filter", *_ID_NAMES, *_VALUE_NAMES}
        if unknown := sorted(set(map(str, arguments)) - known):
            raise ToolError(f"there is no argument {unknown[0][:SHOWN]!r}")
        values = {
            "action": _as_text(action).strip().lower(),
            "session_id": _first(arguments, _ID_NAMES).strip(),
            "value": _first(arguments, _VALUE_NAMES).strip(),
            "filter": _as_text(arguments.get("filter")).strip(),
        }
        if arguments.get("keep") is not None:
            values["keep"] = arguments["keep"]
        return super().of_values(values)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """A JSON object, or lines."""
        text = text.strip()
        if text.startswith("{"):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                return cls.of_values(found)
        action, session_id, value = [*text.split("\n", 2), "", "", ""][:3]
        return cls(action=action.strip().lower(), session_id=session_id.strip(), value=value.strip())


class SearchSessions(Request):
    """What is looked for."""

    lines: ClassVar[str] = "the words to look for"

    query: str = Field(description="Words that a message has in it; the last one may be the beginning of one.")
    limit: int = Field(default=10, ge=1, le=50, description="How many messages are shown.")

    @classmethod
    def of_text(cls, text: str) -> Self:
        """The whole text is what is looked for."""
        return cls(query=text.strip())


class SendMessage(Request):
    """What is sent to people, and where."""

    lines: ClassVar[str] = "lines: the target, then the message"

    target: str = Field(
        default="origin",
        description='Where: "origin" is this chat, the name of a platform is its home channel,'
        " platform:chat_id or platform:chat_id:thread_id another chat.",
    )
    message: str = Field(description="Markdown.")

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Line 1 is the target, the rest the message."""
        first, _, rest = text.strip().partition("\n")
        if not first.strip() or not rest.strip():
            raise ToolError("Need 2 lines: target, then message")
        return cls(target=first.strip(), message=rest)


def count_of(value: str, default: int | None) -> int | None:
    """A number of messages from a text; the default if it is empty. Raises ValueError for what is none."""
    return default if not value else int(value)


def _first(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of these arguments that says something; 0 does."""
    return next((text for name in names if (text := _as_text(arguments.get(name))).strip()), "")


def _as_text(value: object) -> str:
    if value is None or isinstance(value, list | dict):
        return ""
    return str(value)


def _explained(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))[:SHOWN]
    return f"{where}: {first['msg']}" if where else str(first["msg"])

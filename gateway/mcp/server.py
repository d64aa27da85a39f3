"""The MCP server: lists tools and calls them, wherever they are carried out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from gateway.mcp.errors import CallRefusedError
from gateway.tools.requests import READ_ONLY
from gateway.tools.toolkit import as_text
from gateway.version import program_version

NAME: Final = "hermes-gateway"
TITLE: Final = "Hermes Gateway"
INSTRUCTIONS: Final = (
    "The sessions (conversations) of the person whom you work for: list, search and change them, begin others, write to"
    " them and get their answers."
)

DESTRUCTIVE: Final = frozenset({"manage_session"})

Context: TypeAlias = ServerRequestContext[Any, Any]
Describe: TypeAlias = Callable[[Context], Awaitable[Sequence[Mapping[str, Any]]]]
"""Gives the tools that a client may use: name, description and parameters of each."""
Call: TypeAlias = Callable[[Context, str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


def build_server(describe: Describe, call: Call) -> "Server[Any]":
    """A server whose tools are described and carried out by these two. They may raise `CallRefusedError`."""

    async def list_tools(context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        try:
            return types.ListToolsResult(tools=[_tool(one) for one in await describe(context)])
        except CallRefusedError as error:
            raise MCPError(types.INVALID_REQUEST, str(error)) from error

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            result = dict(await call(context, params.name, params.arguments or {}))
        except CallRefusedError as error:
            result = {"error": str(error)}
        text = types.TextContent(type="text", text=as_text(result))
        return types.CallToolResult(content=[text], structured_content=result, is_error="error" in result)

    return Server(
        NAME,
        version=program_version(),
        title=TITLE,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _tool(described: Mapping[str, Any]) -> types.Tool:
    name = str(described["name"])
    hints = types.ToolAnnotations(
        read_only_hint=name in READ_ONLY,
        destructive_hint=name in DESTRUCTIVE,
        open_world_hint=False,
    )
    return types.Tool(
        name=name,
        description=str(described["description"]),
        input_schema=dict(described["parameters"]),
        annotations=hints,
    )

"""Owns `mcp`: the session tools for an agent that starts its servers itself, over standard input and output."""

import asyncio
import os
from typing import Annotated, Final

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import examples, find_home

TOKEN_NAME: Final = "HERMES_GATEWAY_MCP_TOKEN"  # noqa: S105 - a variable's name
"""The environment variable with the token of the turn that an agent works on."""

MCP_EXAMPLES: Final = examples(
    "hermes-gateway mcp                       with the terminal's sessions",
    "hermes-gateway mcp --session SESSION     in the place of whoever has that session",
)


def mcp(
    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="SESSION", help="Work for whoever has this session, with what they may see from there."
        ),
    ] = None,
) -> None:
    """Serve the session tools to an agent, by the Model Context Protocol.

    It speaks over standard input and output, so an agent starts it: name this command as a server in its configuration.
    The gateway has to run. A turn's token in HERMES_GATEWAY_MCP_TOKEN is used where there is one.
    """
    from gateway.mcp.errors import CallRefusedError

    home = find_home()
    token = os.environ.get(TOKEN_NAME)
    if token and session is not None:
        raise CommandError(f"{TOKEN_NAME} says for whom it is: leave --session out, or unset it")
    try:
        from gateway.mcp.stdio import GatewayClient, serve_stdio
    except ImportError as error:
        raise CommandError(f"a package is missing ({error}): install it with `pip install mcp`") from error
    hello = {"token": token} if token else {"session_id": session}
    try:
        asyncio.run(serve_stdio(GatewayClient(home.socket, hello)))
    except CallRefusedError as error:
        raise CommandError(str(error)) from error

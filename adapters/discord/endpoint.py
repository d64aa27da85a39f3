"""Where Discord is. The library keeps its addresses on classes, so there is one Discord in a process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from adapters.base import AccountError


class Endpoint:
    """The addresses that are in use, and by how many connections."""

    def __init__(self) -> None:
        self._users = 0

    @contextmanager
    def held(self, api_base_url: str, gateway_url: str) -> Iterator[None]:
        """Use these addresses. Raises `AccountError` while others are in use."""
        api, gateway = api_base_url.rstrip("/"), URL(gateway_url)
        if self._users and (api, gateway) != (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY):
            raise AccountError(
                f"another connection of this process uses the Discord at {Route.BASE}; there can be one only:"
                " give platforms.discord.api_base_url and gateway_url the same addresses, or run a second gateway"
            )
        Route.BASE = api
        DiscordWebSocket.DEFAULT_GATEWAY = gateway
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1


ENDPOINT = Endpoint()
"""As the classes are those of the whole process, so is this."""

"""The real daemon as a process whose configuration file can change; with a platform of which a test plays the people.

`python -m tests.support.reload_child HOME` runs one. It says `ready` on standard output. On the gateway's socket, the
service named like the platform takes `{"user": …, "id": …, "text": …}` and answers what became of the message; each
delivery is a line `PLATFORM TOKEN TEXT` of the file `shown` in the home.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from config import Home, Platform, PlatformConfig, load_settings
from gateway.daemon import Daemon
from gateway.logs import set_level
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    Capabilities,
    Delivery,
    Found,
    FrameConnection,
    InboundMessage,
    SearchOutcome,
)
from gateway.reload import ConfigSource
from gateway.source import SessionSource


class PlayedAdapter(Adapter):
    """A platform that exists in the test alone."""

    capabilities = Capabilities(find=True)

    def __init__(self, platform: Platform, home: Home, config: PlatformConfig, host: AdapterHost) -> None:
        self._platform = platform
        self._shown = home.path / "shown"
        self._token = config.token.get_secret_value() if config.token else ""
        self._host = host
        self._connected = False

    async def run(self) -> None:
        self._note("up")
        self._host.serve(str(self._platform), self._serve)
        self._host.set_state(AdapterState.CONNECTED)
        try:
            await asyncio.Event().wait()
        finally:
            self._note("down")

    async def send(self, delivery: Delivery) -> str:
        self._note(delivery.text)
        return str(delivery.id)

    async def edit(self, delivery: Delivery) -> None:
        raise AssertionError(delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        return SearchOutcome.ABSENT

    def _note(self, text: str) -> None:
        with self._shown.open("a", encoding="utf-8") as file:
            file.write(f"{self._platform} {self._token} {text}\n")

    async def _serve(self, connection: FrameConnection, frame: Mapping[str, Any]) -> None:
        said: Mapping[str, Any] | None = frame
        while said is not None:
            user = str(said["user"])
            source = SessionSource(self._platform, chat_id=user, chat_type="dm", user_id=user)
            accepted = await self._host.accept(InboundMessage(source, str(said["id"]), str(said["text"])))
            await connection.send({"state": str(accepted.state), "token": self._token})
            said = await connection.receive()


async def serve(home: Home) -> None:
    """Run until SIGTERM."""
    source = ConfigSource.open(lambda: load_settings(home.config_file, environ={}))
    daemon = Daemon(
        source.settings.config,
        home,
        source=source,
        on_config=lambda config: set_level(config.logging.level),
        adapters={name: partial(PlayedAdapter, Platform(name), home) for name in ("telegram", "discord")},
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, daemon.stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.run(on_ready=lambda: print("ready", flush=True))


if __name__ == "__main__":
    asyncio.run(serve(Home(Path(sys.argv[1]))))

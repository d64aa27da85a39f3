"""The real daemon as a process, with the adapters of Telegram, Discord, Slack and the terminal, and the soak's agent.

`python -m tests.soak.four_child '{"home": "HOME", "platforms": {…}}'` runs one until SIGTERM. It prints a line when it
is ready, and at SIGUSR1 what its process holds; its log goes to standard error.
"""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config import GatewayConfig, Home
from gateway.daemon import Daemon
from gateway.memory import settle
from gateway.storage import failover, writer
from tests.soak.child import BUSY_SECONDS, RECOVERY_SECONDS, SoakAgent, configuration, report
from tests.support.daemon_child import ChildOptions, adapters_of

ASK: signal.Signals = signal.SIGUSR1
"""The signal that asks for a report."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the daemon; `platforms` holds the sections of those that are served elsewhere."""

    home: str
    platforms: Mapping[str, Mapping[str, Any]]
    cache_kibibytes: int = 1024


def settings(options: Options) -> GatewayConfig:
    """As in the soak of one platform, but for the platforms."""
    values = configuration().model_dump(exclude={"platforms"}, exclude_unset=True)
    return GatewayConfig.model_validate(values | {"platforms": options.platforms})


async def serve(options: Options) -> None:
    """Run the daemon until SIGTERM. Raises what it raises."""
    setattr(writer, "WRITER_CACHE_KIBIBYTES", options.cache_kibibytes)  # noqa: B010 - a constant elsewhere
    for module in (writer, failover):
        setattr(module, "SQLITE_BUSY_SECONDS", BUSY_SECONDS)  # noqa: B010 - a constant elsewhere
    for name in ("RETRY_SECONDS", "RETRY_MAX_SECONDS"):
        setattr(failover, name, RECOVERY_SECONDS)
    # It has the shape of the port but for how it is made.
    agents: dict[str, Any] = {"soak": SoakAgent()}
    telegram, discord, slack = (options.platforms[name] for name in ("telegram", "discord", "slack"))
    adapters = adapters_of(ChildOptions(options.home, telegram=telegram, discord=discord, slack=slack))
    daemon = Daemon(settings(options), Home(Path(options.home)), agents=agents, adapters=adapters)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, daemon.stop)
    loop.add_signal_handler(ASK, lambda: print(json.dumps(asdict(report())), flush=True))

    def on_ready() -> None:
        settle()  # as the program does
        print("ready", flush=True)

    await daemon.run(on_ready)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(Options(**json.loads(sys.argv[1]))))

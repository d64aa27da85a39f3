"""Owns the systemd unit of the gateway: its text, and where it belongs."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "hermes-gateway.service"

WATCHDOG_SECONDS: Final = 60
"""Silence of the event loop after which the gateway is restarted: far longer than it is ever busy."""

START_SECONDS: Final = 600
"""How long a start may take: a large database may be moved to a new version, a model may load."""

STOP_GRACE_SECONDS: Final = 60
"""What a stop may take beyond `drain_seconds`, for the last deliveries and what remembers."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

_COMMON: Final = """\
# Written by `hermes-gateway service install`. Changes of yours are safe in a drop-in:
#   systemctl {scope}edit hermes-gateway
[Unit]
Description=Hermes Gateway, an AI agent where people talk
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
{identity}Environment={home}
# Tokens that the configuration takes from the environment, as NAME=value lines.
EnvironmentFile=-{environment}

# A loop that hangs does not say that it is alive, and is restarted; nothing is lost by that.
WatchdogSec={watchdog}
TimeoutStartSec={start_seconds}
TimeoutStopSec={stop_seconds}
Restart=on-failure
RestartSec=5
# A wrong configuration (78) or a wrong command (2) does not mend itself.
RestartPreventExitStatus=2 78
KillMode=mixed
UMask=0077
LimitNOFILE=65536
NoNewPrivileges=yes
{hardening}
[Install]
WantedBy={target}
"""

_HARDENING: Final = """\
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
PrivateTmp=yes
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit for one home. `account` is whom the system's manager runs it as; None makes it one of the person's own.

    `config` is the file that it reads; None leaves that to the home. `drain_seconds` is the setting.
    """

    home: Path
    program: tuple[str, ...]
    account: str | None = None
    config: Path | None = None
    drain_seconds: float = 30.0

    def render(self) -> str:
        """The text of the unit."""
        words = (*self.program, "run", *(("--config", str(self.config)) if self.config else ()))
        system = self.account is not None
        return _COMMON.format(
            scope="" if system else "--user ",
            start=" ".join(_word(word.replace("$", "$$")) for word in words),
            identity=f"User={self.account}\n" if system else "",
            home=_word(f"HERMES_GATEWAY_HOME={self.home}"),
            environment=_specifiers(str(self.home / "environment")),
            watchdog=WATCHDOG_SECONDS,
            start_seconds=START_SECONDS,
            stop_seconds=round(self.drain_seconds) + STOP_GRACE_SECONDS,
            hardening=_HARDENING if system else "",
            target="multi-user.target" if system else "default.target",
        )


def place(*, system: bool, config_home: str | None = None) -> Path:
    """Where the unit belongs. `config_home` is the person's folder of settings, `~/.config` where it is not set."""
    if system:
        return Path("/etc/systemd/system") / NAME
    base = Path(config_home) if config_home else Path.home() / ".config"
    return base / "systemd" / "user" / NAME


def program_words(argument: str, executable: str = sys.executable) -> tuple[str, ...]:
    """How this program is started again: by the command that it was started by, or by its interpreter."""
    found = shutil.which(argument) if os.sep not in argument else argument
    if found and Path(found).name == "hermes-gateway" and os.access(found, os.X_OK):
        return (str(Path(found).absolute()),)
    return (executable, "-m", "hermes_gateway")


def _word(text: str) -> str:
    """One word as systemd reads it (systemd.syntax(7)). Of a command line, each $ is to be doubled before
    (systemd.service(5))."""
    doubled = _specifiers(text)
    if _PLAIN.fullmatch(doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")

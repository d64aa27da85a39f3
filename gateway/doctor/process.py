"""Looks at the process and what it listens on: the lock, the socket, the port of HTTP."""

import contextlib
import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from config import GatewayConfig, Home, Platform
from gateway.control import MAX_PATH_BYTES
from gateway.doctor.findings import Finding, error, ok, warning
from gateway.status import StatusError, ask
from gateway.storage import api_queries
from gateway.storage.checks import open_to_check
from gateway.storage.errors import StorageError

LISTENING: Final = (Platform.API_SERVER, Platform.WEBHOOK)
"""The platforms that programs reach over the HTTP listener."""


LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""Where only this machine reaches the listener."""


async def process(home: Home) -> tuple[bool, list[Finding]]:
    """Whether a gateway runs here, and what there is to say about its lock and socket."""
    if len(bytes(home.socket)) > MAX_PATH_BYTES:
        return False, [
            error("process", f"{home.socket} is too long for a socket's address", "set a shorter HERMES_GATEWAY_HOME")
        ]
    try:
        status = await ask(home.socket)
    except (StatusError, OSError) as fault:
        what = fault.what if isinstance(fault, StatusError) else str(fault)
        holder = _holder(home.lock)
        whose = f"; {holder} holds the home" if holder is not None else ""
        return True, [error("process", what + whose, "restart the gateway if this lasts")]
    holder = _holder(home.lock)
    if status is not None:
        return True, [ok("process", f"the gateway runs, pid {status.get('pid')}, version {status.get('version')}")]
    if holder is not None:
        advice = "wait if it is starting or stopping; else end that process"
        return True, [warning("process", f"{holder} holds the home and does not answer on its socket", advice)]
    if home.socket.exists():
        advice = "nothing to do: the next start replaces it"
        return False, [warning("process", f"{home.socket} was left behind by a gateway that was killed", advice)]
    return False, [ok("process", "no gateway runs in this home")]


def _holder(lock: Path) -> str | None:
    """Who holds the home, None if nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            data = json.loads(os.pread(descriptor, 4096, 0))
            return f"{data['holder']} (pid {data['pid']})"
        return "another process"
    else:
        return None
    finally:
        os.close(descriptor)


def http(config: GatewayConfig, *, running: bool) -> Iterator[Finding]:
    """Whether HTTP can be served, and to whom."""
    http = config.http
    if not http.enabled:
        yield from _unheard(config)
        return
    if http.port == 0 or running:
        yield ok(
            "http", "takes any free port" if http.port == 0 else f"port {http.port} is the running gateway's affair"
        )
    else:
        yield _port(http.host, http.port)
    if http.host not in LOOPBACK:
        yield warning(
            "http",
            f"http.host {http.host} can be reached from other machines, without encryption",
            "put a proxy with TLS before it, or set http.host: 127.0.0.1",
        )


def exposure(config: GatewayConfig, home: Home, *, running: bool) -> Iterator[Finding]:
    """Whether the gateway starts: not where other machines could reach it and there is no key."""
    http = config.http
    if running or not http.enabled or http.host in LOOPBACK or http.api_key is not None or _has_key(home):
        return
    yield error(
        "http",
        f"http.host {http.host} can be reached from other machines, and there is no key: the gateway does not start",
        "make one with `hermes-gateway keys create NAME`, or set http.host: 127.0.0.1",
    )


def _has_key(home: Home) -> bool:
    """Whether a key was made that still counts; what cannot be read may have one."""
    if not home.database.exists():
        return False
    try:
        with contextlib.closing(open_to_check(home.database)) as connection:
            connection.row_factory = sqlite3.Row
            return any(row["revoked_at"] is None for row in connection.execute(api_queries.API_KEYS))
    except (StorageError, sqlite3.Error):
        return True


def _unheard(config: GatewayConfig) -> Iterator[Finding]:
    """What only comes over HTTP, and is set up though that is switched off."""
    needing = [f"webhooks.{name}" for name in config.webhooks]
    needing += [
        f"platforms.{name}.mode: {mode}"
        for name in config.enabled_platforms
        if (mode := getattr(config.platform(name), "mode", None)) in ("http", "webhook")
    ]
    if config.http.api_key is not None:
        needing.append("http.api_key")
    needing += [f"platforms.{name}" for name in LISTENING if name in config.enabled_platforms]
    if not needing:
        yield ok("http", "switched off")
        return
    yield error(
        "http",
        f"switched off, so nothing comes of {', '.join(needing)}",
        "write http.enabled: true, or take them out",
    )


def _port(host: str, port: int) -> Finding:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as fault:
        return error(
            "http",
            f"cannot listen on {host} port {port}: {fault.strerror}",
            "set http.port to a free one (0 takes any) and http.host to an address of this machine",
        )
    return ok("http", f"port {port} on {host} is free")

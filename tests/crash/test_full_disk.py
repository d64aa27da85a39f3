"""The disk is full, or cannot be written, and the daemon is killed at times: people are answered or told so."""

import asyncio
import errno
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from config import Home
from gateway.storage.reserve import NAME
from tests.crash.conftest import RigMaker
from tests.crash.rig import UNSTORABLE, Rig
from tests.support.daemon_launcher import ROOT, DaemonLauncher
from tests.support.faults import LockHolder, SmallDisk
from tests.support.injection import SWITCH_FAULTS, Fault

pytestmark = pytest.mark.system

RESERVE_KB: Final = 96
READ_ONLY: Final[Sequence[Fault]] = tuple(
    (f"posix/io/{name}", 1.0, errno.EROFS)
    for name in ("rw/pwrite", "rw/ftruncate", "sync/fsync", "sync/fdatasync", "dir/unlink")
)
"""What fails on a file system that can only be read; but for `write`, which the interpreter takes for its own signals
too: the spool's writes are undone, or are in its way, because they cannot be synced."""


async def readiness(port: int) -> tuple[int, str]:
    """What `/ready` answers: its status, and its body."""

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def fill_until(it: Rig, disk: SmallDisk, mode: str) -> dict[str, Any]:
    """Keep the disk full, while people write, until data goes there."""
    async with asyncio.timeout(20):
        while (storage := (await it.status())["storage"])["mode"] != mode:
            disk.fill()
            if mode == "none":
                it.say("say")  # nobody is told that nothing can be stored until somebody wants it stored
            await asyncio.sleep(0.05)
    return dict(storage)


async def test_a_full_disk(
    rig: RigMaker, home: Home, small_disk: SmallDisk, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    reserve, port = home.sessions_dir / NAME, free_port()
    async with rig(beside=tmp_path, reserve_kb=RESERVE_KB, http_port=port, **UNSTORABLE) as it:
        it.write_on()
        it.start()
        await it.answers(4)
        assert reserve.stat().st_size == RESERVE_KB * 1024
        assert (await readiness(port))[0] == 200

        storage = await fill_until(it, small_disk, "spool")
        assert "full" in storage["reason"]
        await it.answers(3)
        status, body = await readiness(port)
        assert (status, "degraded" in body) == (200, True)
        await it.kill()
        await it.dies_at("spool.appended", 3)
        it.start()
        await it.answers(1)

        small_disk.fill()
        await fill_until(it, small_disk, "none")
        assert not reserve.exists()
        status, body = await readiness(port)
        assert status == 503
        assert "nothing can be stored" in json.loads(body)["reasons"][0]
        async with asyncio.timeout(10):
            while not any("Not stored yet" in report for report in it.client.reports):
                it.say("say")  # a short one may still find room in the spool's last page
                await asyncio.sleep(0.05)
        await it.kill()
        it.start()
        await fill_until(it, small_disk, "none")

        small_disk.make_room()
        await it.storage_is("sqlite")
        await it.answers(3)
        async with asyncio.timeout(10):
            while not reserve.exists():
                await asyncio.sleep(0.02)
        await it.finish()
    assert not list(home.sessions_dir.glob("*spool-*"))
    assert reserve.stat().st_size == RESERVE_KB * 1024


async def test_a_disk_that_can_only_be_read_at_the_start(
    rig: RigMaker, home: Home, small_disk: SmallDisk, tmp_path: Path
) -> None:
    """The gateway says what is wrong and ends; once the disk can be written it goes on where it was."""
    async with rig(beside=tmp_path, reserve_kb=RESERVE_KB, **UNSTORABLE) as it:
        it.write_on()
        await it.dies_at("turn.result")
        holder = LockHolder(home.database)
        assert holder.hold()
        await it.dies_at("spool.appended", 3)
        holder.release()

        small_disk.set_read_only(on=True)
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hermes_gateway", "run"),
            cwd=ROOT,
            env={**os.environ, "HERMES_GATEWAY_HOME": str(home.path)},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(program.communicate(), 30)
        assert program.returncode == 1
        assert b"Read-only file system" in said
        assert b"Traceback" not in said

        small_disk.set_read_only(on=False)
        it.start()
        await it.answers(3)
        await it.finish()


async def test_a_disk_that_can_only_be_read_for_a_while(
    rig: RigMaker, faulty_launcher: DaemonLauncher, home: Home, tmp_path: Path
) -> None:
    """In the middle of talk, and back. A file system with files that are open for writing cannot be remounted, so
    the calls are made to fail as they do on one that the kernel has made read-only because of an error."""
    async with rig(launcher=faulty_launcher, beside=tmp_path, **UNSTORABLE) as it:
        it.faults = READ_ONLY
        it.write_on()
        for _ in range(2):
            daemon = it.start()
            await it.answers(2)
            daemon.signal(SWITCH_FAULTS)
            await it.storage_is("none")
            async with asyncio.timeout(10):
                while not any("Not stored yet" in report for report in it.client.reports):
                    it.say("say")
                    await asyncio.sleep(0.05)
            daemon.signal(SWITCH_FAULTS)
            await it.storage_is("sqlite")
            await it.answers(2)
            daemon.signal(SWITCH_FAULTS)
            await it.storage_is("none")
            await it.kill()
        it.faults = ()
        await it.finish()
    assert not list(home.sessions_dir.glob("*spool-*"))

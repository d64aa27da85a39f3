"""Owns `backup` and `restore`: a home's content in one file, and back."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.errors import FAILED, CommandError
from gateway.cli.options import barred, examples, find_home, prepared_home
from gateway.cli.output import counted, local_time, neutral, say

if TYPE_CHECKING:
    from config import Home
    from gateway.lock import LockHeldError
    from gateway.storage.backup import Manifest

STOP_SECONDS: Final = 120.0
"""How long a gateway that was told to stop may take to finish what is under way."""

STOP_POLL_SECONDS: Final = 0.1
"""How often it is looked whether it has."""

BACKUP_EXAMPLES: Final = examples(
    "hermes-gateway backup gateway-2026-11-21.tar.gz",
    "hermes-gateway backup /mnt/backup/gateway.tar --force",
)
RESTORE_EXAMPLES: Final = examples(
    "hermes-gateway restore gateway-2026-11-21.tar.gz",
    "hermes-gateway restore gateway.tar.gz --yes --now     in a script, while the gateway runs",
)


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write; gzip is used where it ends in .gz or .tgz.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write everything that the gateway keeps into one file.

    Also while the gateway runs: the database is copied as it is at one moment, and nobody waits for it. The file
    holds the database, sessions/, media/, memory/ and gateway.yaml with the checksum of each.

    It holds every conversation, and gateway.yaml as it is written: keys that stand in that file are in the backup,
    those that it takes from the environment or from other files are not. Only you can read the backup; keep it
    like the home itself.
    """
    from gateway.clock import SystemClock
    from gateway.storage.backup import make_backup

    with _progress(f"Backing up to {file.name}") as progress:
        manifest = make_backup(find_home(), file, SystemClock().now(), force=force, progress=progress)
    for name in manifest.skipped:
        say(f"Left out, because it is no plain file: {name}")
    typer.echo(f"{file}: {_content(manifest)}")


def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="What `backup` has written.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Stop a gateway that runs, so that the backup takes effect at once.")
    ] = False,
) -> None:
    """Put a backup in the place of what the gateway keeps.

    The whole backup is verified first; one that is damaged, or of a newer version, changes nothing. While a gateway
    runs, the backup is put ready in the home and takes effect when the gateway is next started.

    What is replaced is kept in the home, in a folder replaced-…; to undo a restore, stop the gateway and move the
    files in it back.
    """
    from gateway.storage.restore import stage, unpacked

    if not yes and not sys.stdin.isatty():
        raise CommandError("nobody can be asked here whether to replace what is there; add --yes if it may be")
    home = prepared_home()
    with _progress(f"Verifying {file.name}") as progress, unpacked(home, file, progress) as (folder, manifest):
        progress.stop()
        say(f"{neutral(str(file))} is whole: {_content(manifest)}.")
        say(f"It was made {local_time(manifest.created_at)} by version {neutral(manifest.version)}.")
        if not yes and not typer.confirm(f"Replace what is in {home.path}?", err=True):
            say("Nothing was changed.")
            raise typer.Exit(FAILED)
        stage(home, folder)
    _take_effect(home, now=now)


def settle(home: "Home") -> None:
    """Have a staged backup take effect before anything of the home is read; not while another process holds it."""
    from gateway.clock import SystemClock
    from gateway.lock import LockHeldError, hold
    from gateway.storage.restore import apply_staged, staged

    try:
        waiting = staged(home)
    except OSError as error:
        raise barred(home, error) from error
    if waiting is None:
        return
    with contextlib.suppress(LockHeldError), hold(home.lock, "hermes-gateway restore"):
        replaced = apply_staged(home, SystemClock().now())
        if replaced is not None:
            say(f"The backup has taken effect; what it replaced is kept in {replaced}")


def _take_effect(home: "Home", *, now: bool) -> None:
    """Apply what is staged, at once where that can be; else say when it will be."""
    from gateway.lock import LockHeldError, hold
    from gateway.storage.restore import staged

    settle(home)
    if staged(home) is None:
        return
    try:
        with hold(home.lock, "hermes-gateway restore"):
            holder = None
    except LockHeldError as error:
        holder = error
    if holder is not None and now:
        _stop(holder)
        _wait(home)
    elif holder is not None:
        who = f"{holder.holder} (pid {holder.pid})" if holder.pid is not None else "another process"
        say(f"The home is in use by {who}. The backup takes effect when the gateway is next started;")
        say(f"--now would have stopped it. To change your mind: rm -r {staged(home)}")
    else:
        settle(home)


def _stop(holder: "LockHeldError") -> None:
    if holder.pid is None:
        raise CommandError(f"{holder}; the backup takes effect when the gateway is next started")
    say(f"Stopping {holder.holder} (pid {holder.pid}) …")
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise CommandError(
            f"{holder.holder} (pid {holder.pid}) belongs to another user; the backup takes effect at its next start"
        ) from error


def _wait(home: "Home") -> None:
    """Until the backup has taken effect: here, or in a gateway that a supervisor has started meanwhile."""
    from gateway.storage.restore import staged

    end = time.monotonic() + STOP_SECONDS
    while staged(home) is not None:
        settle(home)
        if staged(home) is None:
            break
        if time.monotonic() > end:
            raise CommandError("the gateway has not stopped yet; the backup takes effect when it is next started")
        time.sleep(STOP_POLL_SECONDS)
    say("The backup is in place.")


def _content(manifest: "Manifest") -> str:
    size: float = manifest.size
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{counted(len(manifest.entries), 'file')}, {size:.0f} {unit}"


class _Bar:
    """Calls a progress bar's update; without a terminal there is none."""

    def __init__(self, update: Callable[[int, int], None] | None, end: contextlib.ExitStack) -> None:
        self._update = update
        self._end = end

    def __call__(self, done: int, total: int) -> None:
        if self._update is not None:
            self._update(done, total)

    def stop(self) -> None:
        """Remove the bar, so that something can be said."""
        self._update = None
        self._end.close()


@contextlib.contextmanager
def _progress(title: str) -> Iterator[_Bar]:
    """A bar on standard error, where that is a terminal."""
    with contextlib.ExitStack() as stack:
        update: Callable[[int, int], None] | None = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
            bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            stack.enter_context(bar)
            task = bar.add_task(neutral(title))

            def update(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

        yield _Bar(update, stack)

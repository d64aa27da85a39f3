"""Looks for secrets in what each test leaves behind: no secret that a test uses may stand in a file or an output.

What counts as a secret: each value of the configuration that is one, whatever a test makes it with; what a process that
a test starts has in its environment under the name of a secret; and what stands under such a name in the `gateway.yaml`
of a home. What is searched, for each of them: the files below the folders of the test, but for those that the operator
writes (`OPERATORS`), what pytest has captured, and all that the test has read of its own output and of the programs
that it has started.
"""

import asyncio
import json
import mmap
import subprocess
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import yaml
from pydantic import SecretStr

from config.schema import SECRET_NAME

SHORTEST: Final = 8
"""Characters of the shortest secret that is looked for: `t` and `1:x`, as tests have them, are in every other word."""

OPERATORS: Final = frozenset({".yaml", ".yml", ".env", ".token", ".secret", ".py", ".pyc", ".txt", ".json", ""})
"""Endings of files that hold what a test hands to the gateway: secrets may stand there. What the gateway itself
writes ends in none of these."""

OURS: Final = frozenset({"sessions", "logs", "media"})
"""Folders of a home in which the gateway writes every file."""

CONFIGURATION: Final = "gateway.yaml"

ALLOWED: Final = "shows_secrets"
"""The mark of a test whose subject it is that something shows a secret; its reason says where."""


class Leaks:
    """The secrets of a test, and where they were seen."""

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        """Those of modules, made when they were imported."""
        self._secrets: set[str] = set()
        self._in_test = False
        self._outputs: list[tuple[str, str]] = []
        self._found: set[str] = set()

    def know(self, value: object) -> None:
        """This is a secret."""
        if isinstance(value, str) and len(value) >= SHORTEST and not value.isspace():
            (self._secrets if self._in_test else self._lasting).add(value)

    def know_environment(self, environ: Mapping[Any, Any] | None) -> None:
        """What has the name of a secret is one."""
        for name, value in (environ or {}).items():
            if isinstance(name, str) and SECRET_NAME.search(name):
                self.know(value)

    def heard(self, where: str, *texts: str | bytes | None) -> None:
        """An output to be searched at the end of the test: a secret may be known only later."""
        if self._in_test:
            for text in texts:
                if text:
                    plain = text.decode(errors="replace") if isinstance(text, bytes) else text
                    self._outputs.append((where, plain))

    def begin(self) -> None:
        """A test begins."""
        self._secrets.clear()
        self._outputs.clear()
        self._found.clear()
        self._in_test = True

    def search(self, folder: Path) -> None:
        """Search what is in a folder, before it is removed. Nobody may have a database in it open: to close a file
        of one lets go of all locks that this process has on it."""
        files = (OSError, ValueError)
        with suppress(*files):
            for file in folder.rglob(CONFIGURATION):
                self._know_configuration(file)
        forms = {form.encode(errors="surrogatepass"): secret for form, secret in self._forms().items()}
        with suppress(*files):
            for file in outputs_in(folder) if forms else ():
                self._found |= {f"{file.relative_to(folder)}: {forms[form][:4]}…" for form in forms_in(file, forms)}

    def end(self, folders: Iterable[Path], captured: Iterable[tuple[str, str]]) -> list[str]:
        """Where secrets were found, each by its beginning."""
        for folder in folders:
            self.search(folder)
        self._in_test = False
        forms = self._forms()
        heard = (*self._outputs, *captured)
        told = {f"{where}: {secret[:4]}…" for where, text in heard for form, secret in forms.items() if form in text}
        return sorted(self._found | told)

    def _forms(self) -> dict[str, str]:
        return {form: secret for secret in self._lasting | self._secrets for form in written(secret)}

    def _know_configuration(self, file: Path) -> None:
        try:
            self._walk(yaml.safe_load(file.read_text("utf-8")), "")
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            return

    def _walk(self, value: object, name: str) -> None:
        if isinstance(value, Mapping):
            for key, below in value.items():
                self._walk(below, str(key))
        elif isinstance(value, str) and SECRET_NAME.search(name) and "${" not in value:
            self.know(value)


def written(secret: str) -> set[str]:
    """A secret as it may stand in a text: plain, in JSON, in an address."""
    return {secret, json.dumps(secret)[1:-1], quote(secret, safe="", errors="surrogatepass")}


def outputs_in(folder: Path) -> Iterator[Path]:
    """What the gateway has written below a folder."""
    for file in folder.rglob("*"):
        wanted = file.suffix not in OPERATORS or any(part in OURS for part in file.relative_to(folder).parts[:-1])
        if wanted and not file.is_symlink() and file.is_file():
            yield file


def forms_in(file: Path, forms: Iterable[bytes]) -> Iterator[bytes]:
    """Which of these stand in a file; none in one that cannot be read any more."""
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from [form for form in forms if data.find(form) >= 0]
    except (OSError, ValueError):
        return


@contextmanager
def watching(leaks: Leaks) -> Iterator[None]:
    """Note each secret that is made, and each output that is read."""
    with pytest.MonkeyPatch.context() as patch:
        made = SecretStr.__init__

        def make(self: SecretStr, value: str) -> None:
            leaks.know(value)
            made(self, value)

        started = subprocess.Popen.__init__

        def start(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
            leaks.know_environment(options.get("env"))
            started(self, *args, **options)

        patch.setattr(SecretStr, "__init__", make)
        patch.setattr(subprocess.Popen, "__init__", start)
        patch.setattr(subprocess.Popen, "communicate", _hearing(leaks, subprocess.Popen.communicate))
        told = asyncio.subprocess.Process.communicate

        async def communicate(self: asyncio.subprocess.Process, input: Any = None) -> tuple[bytes, bytes]:  # noqa: A002
            out, err = await told(self, input)
            leaks.heard("output of a program", out, err)
            return out, err

        patch.setattr(asyncio.subprocess.Process, "communicate", communicate)
        read = pytest.CaptureFixture.readouterr

        def readouterr(self: pytest.CaptureFixture[Any]) -> Any:
            taken = read(self)
            leaks.heard("output", taken.out, taken.err)
            return taken

        patch.setattr(pytest.CaptureFixture, "readouterr", readouterr)
        yield


def _hearing(leaks: Leaks, told: Callable[..., Any]) -> Callable[..., Any]:
    def communicate(self: Any, *args: Any, **options: Any) -> Any:
        out, err = told(self, *args, **options)
        leaks.heard("output of a program", out, err)
        return out, err

    return communicate


def folders_of(item: pytest.Item) -> list[Path]:
    """Where a test may have left something that is still there once its fixtures are gone."""
    arguments = getattr(item, "funcargs", {})
    folder = arguments.get("tmp_path")
    return [folder] if isinstance(folder, Path) else []


class LeakWatch:
    """The plugin of pytest: a test that leaves a secret somewhere fails when it is torn down."""

    def __init__(self) -> None:
        self._leaks = Leaks()
        self._watching = ExitStack()
        self._watching.enter_context(watching(self._leaks))

    def pytest_unconfigure(self) -> None:
        self._watching.close()

    @pytest.fixture
    def leaks(self) -> Leaks:
        """What is known of this test's secrets."""
        return self._leaks

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._leaks.begin()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """Once the fixtures are gone, so that nothing is open; what the test's own fault is stands first."""
        folders = folders_of(item)
        yield
        captured = [(f"captured {key}", text) for _when, key, text in item._report_sections if key != "log"]
        found = self._leaks.end(folders, captured)
        if found and item.get_closest_marker(ALLOWED) is None:
            pytest.fail("secrets of this test stand in what it leaves behind: " + "; ".join(found), pytrace=False)

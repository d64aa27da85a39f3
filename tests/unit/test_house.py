"""The rules of the house, held against the source itself: who may import whom, and where SQL stands."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from pydantic import BaseModel

from config import models

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "gateway", "adapters")
PROGRAM = "hermes_gateway"

PURE_HELPERS = frozenset(
    {"gateway.constants", "gateway.frames", "gateway.outside", "gateway.values", "gateway.version"}
)
"""Parts of the gateway below its ports: constants and pure functions, which import nothing else of ours."""

GATEWAY_FOR_ADAPTERS = frozenset({"gateway.ports", "gateway.source"}) | PURE_HELPERS
"""All that an adapter may know of the gateway."""

SHARED_BY_ADAPTERS = frozenset(
    f"adapters{part}"
    for part in ("", ".background", ".base", ".connection", ".markup", ".memory", ".proxy", ".strangers", ".testing")
)
"""What adapters share. Everything else directly under `adapters` is one platform's."""

WHOLE_GATEWAY = frozenset({"adapters.testing.conformance"})
"""What stands above the gateway, as the program does: the suite runs all of it against an adapter."""

PLATFORM_SDKS = frozenset(
    {"telegram", "aiogram", "telethon", "pyrogram", "discord", "slack_sdk", "slack_bolt", "nio", "mautrix"}
)
"""Top-level modules that speak one platform's protocol, and so belong into its adapter."""

TEST_TOOLS = frozenset({"tests", "bench", "pytest", "_pytest", "hypothesis", "pexpect"})

HEAVY = frozenset({"aiohttp", "pydantic_ai", "openai", "prompt_toolkit"})
"""Imports that cost too much for a command that does not use them."""

SETTINGS_WITHOUT_READER = frozenset({"token_file", "secret_file", "api_base_url"})
"""What can be set already and belongs to parts that are still to come."""

MAX_LINES = 500
MAX_PUBLIC_METHODS = 15
LONG_MODULES: frozenset[str] = frozenset()
"""Modules over the limit that have been asked whether they are two things, each with the reason why not."""
LARGE_CLASSES = frozenset(
    {
        # One object is what people program against, and its public interface names most of its methods.
        "gateway.session.store.SessionStore",
        # All that the core lends an adapter, under one name: there is nothing else that an author has to find.
        "gateway.host.Host",
        "gateway.ports.adapter.AdapterHost",
    }
)
"""Classes over the limit of public methods, as `module.Class`, each with the reason why."""

SQL = re.compile(
    r"""\b(
        SELECT\b.*\bFROM\b | INSERT\s+(OR\s+\w+\s+)?INTO\b | REPLACE\s+INTO\b | DELETE\s+FROM\b
      | UPDATE\s+(OR\s+\w+\s+)?\S+\s+SET\b | PRAGMA\s+\w+
      | (CREATE|DROP|ALTER)\s+((UNIQUE|VIRTUAL|TEMP|TEMPORARY)\s+)?(TABLE|INDEX|TRIGGER|VIEW)\b
    )""",
    re.VERBOSE | re.DOTALL,
)
LOWER_CASE_SQL = re.compile(SQL.pattern, re.VERBOSE | re.DOTALL | re.IGNORECASE)
SQL_MARKS = re.compile(r"[?*=]|:\w")
"""In lower case, words like `select … from` are English unless one of these stands with them."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's one name: `from base import name`, or `import base`."""

    base: str
    name: str | None
    alias: str
    line: int
    typing_only: bool


@dataclass(frozen=True, slots=True)
class Module:
    """A module's source, read but never imported."""

    name: str
    is_package: bool
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """`importer` needs `target`: a module of ours, or the dotted name of someone else's."""

    importer: str
    target: str
    line: int
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


House = Mapping[str, Module]


def read(name: str, source: str, *, is_package: bool) -> Module:
    tree = ast.parse(source)
    imports = tuple(imports_of(tree, name if is_package else name.rpartition(".")[0]))
    return Module(name, is_package, tree, len(source.splitlines()), imports)


def imports_of(node: ast.AST, package: str, *, typing_only: bool = False) -> Iterator[Import]:
    """Every import below a node, those in functions too; `package` is what a relative one starts from."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            bound = alias.asname or alias.name
            yield Import(alias.name, None, bound, node.lineno, typing_only)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        for alias in node.names:
            yield Import(base, alias.name, alias.asname or alias.name, node.lineno, typing_only)
    elif isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
        for child in node.body:
            yield from imports_of(child, package, typing_only=True)
        for child in node.orelse:
            yield from imports_of(child, package, typing_only=typing_only)
    else:
        for each in ast.iter_child_nodes(node):
            yield from imports_of(each, package, typing_only=typing_only)


def target_of(house: House, base: str, name: str | None, seen: frozenset[str] = frozenset()) -> str:
    """The module that an import reaches: a name that a package only re-exports is its definer's."""
    if name is None or base not in house:
        return base
    full = f"{base}.{name}"
    if full in house:
        return full
    if house[base].is_package and full not in seen:
        for each in house[base].imports:
            if each.alias == name and each.name is not None:
                return target_of(house, each.base, each.name, seen | {full})
    return base


def edges(house: House) -> list[Edge]:
    return [
        Edge(module.name, target, each.line, each.typing_only)
        for module in house.values()
        for each in module.imports
        if (target := target_of(house, each.base, each.name)) != module.name
    ]


def top(name: str) -> str:
    return name.partition(".")[0]


def within(name: str, parents: frozenset[str]) -> bool:
    """Whether a module is one of `parents` or lies in one of them."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in parents for length in range(1, len(parts) + 1))


def is_ours(name: str) -> bool:
    return top(name) in {*PACKAGES, PROGRAM}


def layer(name: str) -> int:
    """A module's height; an import goes down or stays level. The package `gateway` itself holds nothing."""
    if top(name) == PROGRAM or within(name, WHOLE_GATEWAY):
        return 5
    if within(name, frozenset({"gateway.daemon"})):
        return 4
    if top(name) == "config":
        return 0
    if name == "gateway" or within(name, PURE_HELPERS | {"gateway.source"}):
        return 1
    return 2 if within(name, frozenset({"gateway.ports"})) else 3


def upward_imports(house: House) -> list[str]:
    return [
        f"{edge}, which lies above it"
        for edge in edges(house)
        if is_ours(edge.target) and layer(edge.target) > layer(edge.importer)
    ]


def core_imports_of_platforms(house: House) -> list[str]:
    """Nothing but an adapter knows an SDK; of the rest, only the command line may know an adapter."""
    return [
        f"{edge}, which belongs to a platform"
        for edge in edges(house)
        if top(edge.importer) != "adapters"
        and (top(edge.target) in PLATFORM_SDKS or (top(edge.target) == "adapters" and top(edge.importer) != PROGRAM))
    ]


def adapter_imports(house: House) -> list[str]:
    """An adapter knows itself, what is shared, and the gateway's ports; what is shared knows no adapter."""
    found = []
    for edge in edges(house):
        if top(edge.importer) != "adapters" or not is_ours(edge.target) or top(edge.target) == "config":
            continue
        if within(edge.importer, WHOLE_GATEWAY) and top(edge.target) == "gateway":
            continue
        if top(edge.target) == "adapters":
            own = frozenset() if within_shared(edge.importer) else frozenset({unit(edge.importer)})
            allowed = within_shared(edge.target) or unit(edge.target) in own
        else:
            allowed = within(edge.target, GATEWAY_FOR_ADAPTERS)
        if not allowed:
            found.append(f"{edge}, which is not an adapter's to know")
    return found


def unit(name: str) -> str:
    """`adapters.telegram` for every module of the Telegram adapter."""
    return ".".join(name.split(".")[:2])


def within_shared(name: str) -> bool:
    return unit(name) in SHARED_BY_ADAPTERS


def tools_of_tests_in_the_product(house: House) -> list[str]:
    """Only `adapters.testing`, the suite for people who write an adapter, may use a test tool or be one."""
    return [
        f"{edge}, which is for tests"
        for edge in edges(house)
        if unit(edge.importer) != "adapters.testing"
        and (top(edge.target) in TEST_TOOLS or unit(edge.target) == "adapters.testing")
    ]


def cycles(house: House) -> list[str]:
    graph: dict[str, set[str]] = {}
    for edge in edges(house):
        if not edge.typing_only and is_ours(edge.target):
            graph.setdefault(edge.importer, set()).add(edge.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a cycle: " + " <- ".join(error.args[1])]
    return []


def sql_outside_the_storage(house: House) -> list[str]:
    return [
        f"{module.name}:{line} holds SQL"
        for module in house.values()
        if not within(module.name, frozenset({"gateway.storage"}))
        for line, text in strings(module.tree)
        if SQL.search(text) or (LOWER_CASE_SQL.match(text.lstrip()) and SQL_MARKS.search(text))
    ]


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every text in the code with its line; docstrings are not code. A value in an f-string reads as `?`."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "?" for part in node.values]
            yield node.lineno, "".join(str(part) for part in parts)


def public_methods(node: ast.ClassDef) -> set[str]:
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {each.name for each in methods if not each.name.startswith("_")}


def oversized(house: House) -> list[str]:
    found = [
        f"{module.name} has {module.lines} lines: is it two things?"
        for module in house.values()
        if module.lines > MAX_LINES and module.name not in LONG_MODULES
    ]
    for module in house.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and f"{module.name}.{node.name}" not in LARGE_CLASSES:
                public = public_methods(node)
                if len(public) > MAX_PUBLIC_METHODS:
                    found.append(f"{module.name}.{node.name} has {len(public)} public methods")
    return found


def swallowed_cancellations(house: House) -> list[str]:
    """Before Python 3.12 `asyncio.wait_for` can swallow a cancellation; `asyncio.timeout` does not."""
    return [
        f"{module.name}:{node.lineno} uses wait_for"
        for module in house.values()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr == "wait_for" and ast.unparse(node.value) == "asyncio")
        or (isinstance(node, ast.ImportFrom) and node.module == "asyncio" and "wait_for" in ast.unparse(node))
    ]


RULES = (
    upward_imports,
    core_imports_of_platforms,
    adapter_imports,
    tools_of_tests_in_the_product,
    cycles,
    sql_outside_the_storage,
    oversized,
    swallowed_cancellations,
)


@cache
def our_house() -> House:
    """Every module that is shipped."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    files += [path for path in [ROOT / f"{PROGRAM}.py"] if path.exists()]
    modules = []
    for path in files:
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(read(name, path.read_text(encoding="utf-8"), is_package=is_package))
    return {module.name: module for module in modules}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: object) -> None:
    assert callable(rule)
    assert rule(our_house()) == []


def test_the_house_is_seen_whole() -> None:
    assert {"config", "gateway.ports", "gateway.source", "adapters.base"} <= set(our_house())
    targets = {(edge.importer, edge.target) for edge in edges(our_house())}
    assert ("gateway.ports.inbound", "gateway.source") in targets


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def built(sources: Mapping[str, str]) -> House:
    """A small house from names and sources; a name that others lie under is a package."""
    return {
        name: read(name, text, is_package=any(other.startswith(f"{name}.") for other in sources))
        for name, text in sources.items()
    }


GOOD = {
    "config": "from config.models import Settings",
    "config.models": "import json",
    "gateway": "",
    "gateway.source": "from config import Settings",
    "gateway.ports": "from gateway.source import SessionSource",
    "gateway.session": "from .store import Store\nfrom .key import build",
    "gateway.session.store": "from .key import build",
    "gateway.session.key": '"""SELECT a key FROM a source."""\nfrom typing import TYPE_CHECKING\n'
    "if TYPE_CHECKING:\n    from gateway.session.store import Store",
    "gateway.turns": "from gateway.session import Store",
    "gateway.storage": "QUERY = 'SELECT 1 FROM session'",
    "gateway.daemon": "from gateway import turns",
    "adapters": "",
    "adapters.base": "from gateway.ports import Adapter",
    "adapters.testing": "import pytest",
    "adapters.telegram": "import telegram\nfrom adapters.base import Adapter\nfrom . import media",
    "adapters.telegram.media": "",
    "adapters.discord": "import discord",
    "hermes_gateway": "def main():\n    from gateway.daemon import run\n    import adapters.telegram",
}


def test_a_good_house_passes() -> None:
    assert [complaint for rule in RULES for complaint in rule(built(GOOD))] == []


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (upward_imports, "config.models", "def f():\n    import gateway.ports"),
        (upward_imports, "gateway.source", "from gateway import ports"),
        (upward_imports, "gateway.ports", "from gateway.session import Store"),
        (upward_imports, "gateway.constants", "from gateway.turns import Turn"),
        (upward_imports, "gateway.turns", "from gateway.daemon import run"),
        (upward_imports, "gateway.daemon", "import hermes_gateway"),
        (core_imports_of_platforms, "gateway.turns", "def f():\n    from adapters.base import Adapter"),
        (core_imports_of_platforms, "gateway.daemon", "import adapters.telegram"),
        (core_imports_of_platforms, "gateway.turns", "from telegram.ext import Application"),
        (core_imports_of_platforms, "config.models", "import slack_sdk.web.async_client"),
        (core_imports_of_platforms, "hermes_gateway", "import discord"),
        (adapter_imports, "adapters.telegram.media", "from ..discord import Client"),
        (adapter_imports, "adapters.telegram.media", "from adapters import discord"),
        (adapter_imports, "adapters.base", "from adapters.telegram import media"),
        (adapter_imports, "adapters.discord", "from gateway.session import Store"),
        (tools_of_tests_in_the_product, "adapters.discord", "from adapters.testing import Server"),
        (tools_of_tests_in_the_product, "gateway.turns", "from tests.unit import helper"),
        (tools_of_tests_in_the_product, "gateway.turns", "import pytest"),
        (cycles, "gateway.session.key", "def f():\n    from gateway.session import Store"),
        (cycles, "gateway.session.key", "from gateway.turns import Turn"),
        (sql_outside_the_storage, "gateway.turns", "q = 'DELETE FROM turn'"),
        (sql_outside_the_storage, "gateway.turns", "q = f'UPDATE {table} SET a = 1'"),
        (sql_outside_the_storage, "gateway.turns", "q = '''\n select *\n from turn'''"),
        (swallowed_cancellations, "adapters.discord", "async def f(x):\n    await asyncio.wait_for(x, 1)"),
        (swallowed_cancellations, "gateway.turns", "from asyncio import sleep, wait_for"),
        (oversized, "gateway.turns", "\n" * 501),
        (oversized, "gateway.turns", "class A:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(16))),
    ],
)
def test_a_bad_house_is_caught(rule: object, module: str, source: str) -> None:
    assert callable(rule)
    complaints = rule(built(GOOD | {module: source}))
    assert complaints
    assert all(module in complaint for complaint in complaints)


def test_every_setting_is_read_by_something() -> None:
    sources = [ROOT / f"{PROGRAM}.py", *(ROOT / "gateway").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]
    read = set(re.findall(r"\.([a-z_]+)\b", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    sections = [value for value in vars(models).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    settings = {name for section in sections for name in section.model_fields}
    assert len(settings) > 40
    assert settings - read - SETTINGS_WITHOUT_READER == set()


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    program = ROOT / f"{PROGRAM}.py"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(program), "--help"],
        capture_output=True,
        text=True,
        env={"HERMES_GATEWAY_HOME": str(tmp_path), "PATH": "", "NO_COLOR": "1"},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    timings = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    loaded = {top(line.rpartition("|")[2].strip()) for line in timings}
    assert "encodings" in loaded
    assert loaded & HEAVY == set()

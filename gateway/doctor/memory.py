"""Looks at the memory: whether what is to remember is there, and whether its files can be read."""

from collections.abc import Iterator

from config import GatewayConfig, Home
from gateway.doctor.findings import Finding, error, ok
from gateway.ports import RememberError
from gateway.remembering.notes import read_page
from gateway.remembering.providers import NONE, find_provider, is_place, known_providers


def memory(config: GatewayConfig, home: Home) -> Iterator[Finding]:
    """Whether the configured memory is known and can be loaded, and each file of notes can be read."""
    provider = config.memory.provider
    if provider == NONE:
        return
    if provider not in known_providers() and not is_place(provider):
        known = ", ".join(known_providers())
        yield error("memory", f"memory.provider is {provider!r}, which is not known", f"choose one of {known}")
        return
    try:
        find_provider(provider)
    except RememberError as fault:
        yield error("memory", str(fault), "correct memory.provider, or install the package that brings it")
        return
    files = sorted(home.memory_dir.rglob("*.md")) if home.memory_dir.is_dir() else []
    sound = True
    for path in files:
        try:
            read_page(path)
        except RememberError as fault:
            sound = False
            yield error("memory", str(fault), "until then nothing is recalled from it, and nothing added")
    if sound:
        yield ok("memory", f"{provider}; {len(files)} files of notes in {home.memory_dir}" if files else provider)

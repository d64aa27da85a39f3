"""Files in words: their names made harmless, their sizes, what is said of one that cannot be shown."""

from typing import Final

from gateway.constants import MAX_FILE_NAME
from gateway.outside import in_brackets
from gateway.ports import MediaKind, OutgoingFile

_KINDS: Final = {
    MediaKind.IMAGE: "Image",
    MediaKind.STICKER: "Sticker",
    MediaKind.VOICE: "Voice message",
    MediaKind.AUDIO: "Audio",
    MediaKind.VIDEO: "Video",
    MediaKind.DOCUMENT: "File",
}

_UNITS: Final = (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000))


def clean_name(name: str | None) -> str:
    """A name from outside, fit to stand in a line: one line, short, without characters that cannot be seen.

    Empty if nothing is left of it.
    """
    plain = in_brackets(name, limit=None)
    if len(plain) <= MAX_FILE_NAME:
        return plain
    kept = MAX_FILE_NAME // 2
    return f"{plain[:kept]}…{plain[-kept + 1 :]}"


def size_words(size: int) -> str:
    """A size in bytes as people say it."""
    for unit, least in _UNITS:
        if size >= least:
            return f"{size / least:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"


def title(kind: MediaKind, name: str | None, *details: str | None) -> str:
    """A file in a few words: its kind, its name where it has one, and in brackets what else is known of it."""
    cleaned = clean_name(name)
    known = ", ".join(detail for detail in details if detail)
    return _KINDS[kind] + (f' "{cleaned}"' if cleaned else "") + (f" ({known})" if known else "")


def describe_file(file: OutgoingFile, *, operator: bool = False) -> str:
    """What is shown of a file where a platform shows none. `operator`: whoever reads it is at this machine."""
    what = title(file.kind, file.name)
    words = f"{what}: {file.path}" if operator else f"({what} could not be shown here.)"
    return f"{file.caption}\n\n{words}" if file.caption.strip() else words

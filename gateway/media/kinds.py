"""What a file is, by its first bytes: names and types that others state are not asked."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.ports import MediaKind

HEAD_BYTES: Final = 4096
"""How much of a file is looked at."""


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file. `extension` is the one that our own names for such files have; `words` name it to people."""

    extension: str
    media_type: str
    kind: MediaKind
    words: str


PNG: Final = FileType("png", "image/png", MediaKind.IMAGE, "PNG")
JPEG: Final = FileType("jpg", "image/jpeg", MediaKind.IMAGE, "JPEG")
GIF: Final = FileType("gif", "image/gif", MediaKind.IMAGE, "GIF")
WEBP: Final = FileType("webp", "image/webp", MediaKind.IMAGE, "WebP")
OPUS: Final = FileType("ogg", "audio/ogg", MediaKind.VOICE, "Ogg Opus")
OGG: Final = FileType("ogg", "audio/ogg", MediaKind.AUDIO, "Ogg")
WAV: Final = FileType("wav", "audio/wav", MediaKind.AUDIO, "WAV")
MP3: Final = FileType("mp3", "audio/mpeg", MediaKind.AUDIO, "MP3")
AAC: Final = FileType("aac", "audio/aac", MediaKind.AUDIO, "AAC")
AMR: Final = FileType("amr", "audio/amr", MediaKind.AUDIO, "AMR")
FLAC: Final = FileType("flac", "audio/flac", MediaKind.AUDIO, "FLAC")
M4A: Final = FileType("m4a", "audio/mp4", MediaKind.AUDIO, "MPEG-4 audio")
MP4: Final = FileType("mp4", "video/mp4", MediaKind.VIDEO, "MP4")
MOV: Final = FileType("mov", "video/quicktime", MediaKind.VIDEO, "QuickTime")
HEIC: Final = FileType("heic", "image/heic", MediaKind.DOCUMENT, "HEIC image")
AVIF: Final = FileType("avif", "image/avif", MediaKind.DOCUMENT, "AVIF image")
TIFF: Final = FileType("tiff", "image/tiff", MediaKind.DOCUMENT, "TIFF image")
WEBM: Final = FileType("webm", "video/webm", MediaKind.VIDEO, "WebM")
MKV: Final = FileType("mkv", "video/x-matroska", MediaKind.VIDEO, "Matroska")
AVI: Final = FileType("avi", "video/x-msvideo", MediaKind.VIDEO, "AVI")
PDF: Final = FileType("pdf", "application/pdf", MediaKind.DOCUMENT, "PDF")
ZIP: Final = FileType("zip", "application/zip", MediaKind.DOCUMENT, "ZIP")
GZIP: Final = FileType("gz", "application/gzip", MediaKind.DOCUMENT, "gzip")
TEXT: Final = FileType("txt", "text/plain", MediaKind.DOCUMENT, "text")
UNKNOWN: Final = FileType("bin", "application/octet-stream", MediaKind.DOCUMENT, "unknown type")

SHOWN_IMAGES: Final = frozenset({PNG, JPEG, GIF, WEBP})
"""Images that every large provider's models take."""

HEARD: Final = frozenset({OPUS, OGG, WAV, MP3, AAC, AMR, FLAC, M4A, WEBM, MP4})
"""What a transcriber may be given."""

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"ID3", MP3),
    (b"fLaC", FLAC),
    (b"#!AMR", AMR),
    (b"%PDF-", PDF),
    (b"PK\x03\x04", ZIP),
    (b"\x1f\x8b\x08", GZIP),
)
"""How files begin (https://mimesniff.spec.whatwg.org, and each format's own specification)."""

_RIFF: Final = {b"WEBP": WEBP, b"WAVE": WAV, b"AVI ": AVI}
"""RIFF files by the form that stands at the eighth byte."""

_BRANDS: Final = {
    b"M4A ": M4A,
    b"M4B ": M4A,
    b"qt  ": MOV,
    b"heic": HEIC,
    b"heix": HEIC,
    b"mif1": HEIC,
    b"avif": AVIF,
}
"""Files of the ISO base media format by their major brand (ISO/IEC 14496-12); any other is taken for MP4."""

_MPEG_AUDIO: Final = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa\xfb]")
"""The frame header of MPEG audio, layers two and three; that of AAC (ADTS) has other bits."""

_ADTS: Final = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
"""Characters that no text has."""


def sniff(head: bytes) -> FileType:
    """The type of a file that begins like this; give it `HEAD_BYTES`, or the whole of a shorter one."""
    for look in (_by_start, _riff, _iso_media, _ogg, _matroska, _mpeg_audio):
        found = look(head)
        if found is not None:
            return found
    return TEXT if _is_text(head) else UNKNOWN


def text_of(data: bytes) -> str | None:
    """The text that a whole file holds, without a byte order mark; None if it is none in UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text


def _by_start(head: bytes) -> FileType | None:
    return next((kind for start, kind in _STARTS if head.startswith(start)), None)


def _riff(head: bytes) -> FileType | None:
    return _RIFF.get(head[8:12]) if head.startswith(b"RIFF") else None


def _iso_media(head: bytes) -> FileType | None:
    return _BRANDS.get(head[8:12], MP4) if head[4:8] == b"ftyp" else None


def _ogg(head: bytes) -> FileType | None:
    if not head.startswith(b"OggS"):
        return None
    return OPUS if b"OpusHead" in head[:64] else OGG


def _matroska(head: bytes) -> FileType | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return WEBM if b"webm" in head[:64] else MKV


def _mpeg_audio(head: bytes) -> FileType | None:
    if _ADTS.match(head):
        return AAC
    return MP3 if _MPEG_AUDIO.match(head) else None


def _is_text(head: bytes) -> bool:
    decode: Callable[..., str] = codecs.getincrementaldecoder("utf-8-sig")().decode
    try:
        text = decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return bool(head) and not _CONTROLS.search(text)

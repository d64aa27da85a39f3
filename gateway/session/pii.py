"""Hiding personal data from the model: stable hashes of ids, and what looks like a phone number.

The hash of an id is 12 hexadecimal digits: of its SHA-256, or, with a secret, of its HMAC-SHA-256. Phone
numbers are few enough to try them all, so only the hash with a secret hides one; without it the hash is a
mere name.
"""

import hashlib
import hmac
import re
from typing import Final, TypeAlias

from config import Platform

Id: TypeAlias = str | int | None

HASH_LENGTH: Final = 12

_PHONE: Final = re.compile(r"\+?\d[\d\s-]{6,}")
# A number of 7 to 15 digits (15 is the longest of ITU-T E.164), however it is punctuated, inside other text.
# Longer runs without punctuation are ids, such as Discord's in a mention.
_PHONE_WITHIN: Final = re.compile(r"(?<!\w)\+?\(?\d(?:[\s()./-]{0,3}\d){6,14}(?!\w)")


def hash_id(value: Id, secret: bytes | None = None) -> str:
    """12 hexadecimal digits that stand for an id; the same for equal ids (None counts as empty text)."""
    data = ("" if value is None else str(value)).encode("utf-8", "surrogatepass")
    made = hashlib.sha256(data) if secret is None else hmac.new(secret, data, hashlib.sha256)
    return made.hexdigest()[:HASH_LENGTH]


def hash_sender_id(value: Id, secret: bytes | None = None) -> str:
    """What stands for a person: ``user_`` and the hash of their id, or ``user`` where there is no id."""
    return "user" if value is None else f"user_{hash_id(value, secret)}"


def hash_chat_id(value: Id, secret: bytes | None = None) -> str:
    """What stands for a chat: the hash of its id, or ``chat`` where there is none.

    In ``platform:id`` the name of a known platform is kept. Any other text before a colon is part of the id
    and is hashed with it: in a WhatsApp device's id it is a phone number.
    """
    if value is None:
        return "chat"
    prefix, colon, rest = str(value).partition(":")
    if colon and _is_platform(prefix):
        return f"{prefix}:{hash_id(rest, secret)}"
    return hash_id(value, secret)


def looks_like_phone(text: str) -> bool:
    """Whether the whole text reads as a phone number.

    That is a digit, after a plus sign or not, then at least six digits, hyphens or blanks.
    """
    return _PHONE.fullmatch(text.strip()) is not None


def redact_phones(text: str, secret: bytes | None = None) -> str:
    """The text with phone numbers hashed as a person's id: all of it if it is one, else each one within."""
    if looks_like_phone(text):
        return hash_sender_id(text.strip(), secret)
    return _PHONE_WITHIN.sub(lambda match: hash_sender_id(match.group(), secret), text)


def _is_platform(name: str) -> bool:
    try:
        Platform(name)
    except ValueError:
        return False
    return True

"""Which addresses a message may make clickable."""

import re
from typing import Final
from urllib.parse import unquote

MAX_URL: Final = 2_048
"""Characters; a longer address is shown and not linked."""

_WEB: Final = re.compile(
    r"https?://(?:[^\W_](?:[\w-]*[^\W_])?\.)+(?:[^\W\d_]{2,}|xn--[a-z0-9-]+|[0-9]{1,3})(?::([0-9]{1,5}))?(?:[/?#]\S*)?",
    re.IGNORECASE,
)
"""With a host that has a dot, as Telegram demands; without a user's name, which serves only to mislead."""


def is_web_link(url: str) -> bool:
    """Whether this is an http or https address of a public shape."""
    found = _WEB.fullmatch(url) if len(url) <= MAX_URL else None
    return found is not None and 0 < int(found.group(1) or 80) < 65_536


def shown_target(url: str) -> str:
    """An address as people read it, where it stands in the text."""
    return unquote(url.removeprefix("mailto:")) if url.startswith("mailto:") else url

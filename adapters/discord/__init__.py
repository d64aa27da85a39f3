"""The adapter for Discord, on discord.py."""

import warnings

with warnings.catch_warnings():
    # discord.py imports audioop, which Python 3.11 calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from adapters.discord.adapter import DiscordAdapter

__all__ = ["DiscordAdapter"]

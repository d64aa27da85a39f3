"""What a session knows of its surroundings: `SessionContext`, which the context prompt is written from."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from datetime import datetime
from types import MappingProxyType

from config import GatewayConfig, HomeChannel, Platform
from gateway.session.entry import SessionEntry
from gateway.session.traits import NO_TRAITS, Traits, traits_of
from gateway.source import SessionSource
from gateway.values import value


@value
class SessionContext:
    """Where a conversation takes place and what can be reached from there. Ids are raw, nothing is hidden.

    Without an entry there is no key, no id and no time. The three reset fields are those of the entry.
    """

    source: SessionSource
    connected_platforms: tuple[Platform, ...] = ()
    home_channels: Mapping[Platform, HomeChannel] = field(default_factory=dict)
    session_key: str = ""
    session_id: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    was_auto_reset: bool = False
    auto_reset_reason: str | None = None
    reset_had_activity: bool = False
    traits: Mapping[str, Traits] = field(default_factory=dict)
    """What adapters declare about their platforms, by platform name."""

    def traits_of(self, platform: Platform) -> Traits:
        """What holds for a platform: declared by its adapter, or known beforehand."""
        return traits_of(platform, self.traits)


def build_session_context(
    source: SessionSource,
    config: GatewayConfig,
    entry: SessionEntry | None = None,
    *,
    connected: Collection[Platform] | None = None,
    traits: Mapping[str, Traits] = NO_TRAITS,
    home: Callable[[Platform], HomeChannel | None] | None = None,
) -> SessionContext:
    """The context of a message from this source.

    `connected` are the platforms with a live connection; None takes all that are switched on. Home channels
    are those of connected platforms that have one: `home` gives them, by default from the configuration. `traits` is
    what adapters declare about their platforms.
    """
    platforms = tuple(config.enabled_platforms if connected is None else connected)
    find = home or (lambda platform: _configured(config, platform))
    homes = {platform: found for platform in platforms if (found := find(platform)) is not None}
    if entry is None:
        return SessionContext(source, platforms, MappingProxyType(homes), traits=traits)
    return SessionContext(
        source,
        platforms,
        MappingProxyType(homes),
        session_key=entry.session_key,
        session_id=entry.session_id,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
        was_auto_reset=entry.was_auto_reset,
        auto_reset_reason=entry.auto_reset_reason,
        reset_had_activity=entry.reset_had_activity,
        traits=traits,
    )


def _configured(config: GatewayConfig, platform: Platform) -> HomeChannel | None:
    section = config.platforms.get(platform)
    return None if section is None else section.home_channel

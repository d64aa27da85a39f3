"""`build_session_context`: what of the configuration and the entry gets into it."""

from datetime import UTC, datetime

from config import GatewayConfig, Platform
from gateway.session import PlatformTraits, SessionEntry, SessionSource, build_session_context

NOW = datetime(2026, 3, 25, 10, tzinfo=UTC)
CONFIG = GatewayConfig.model_validate(
    {
        "platforms": {
            "telegram": {"token": "t", "home_channel": {"chat_id": "-100", "name": "Ops"}},
            "discord": {"token": "d"},
            "signal": {"enabled": False, "home_channel": {"chat_id": "g"}},
        }
    }
)
SOURCE = SessionSource(Platform.TELEGRAM, "9", user_id="7")


def test_platforms_and_homes_come_from_the_configuration() -> None:
    context = build_session_context(SOURCE, CONFIG)
    assert set(context.connected_platforms) == {"local", "telegram", "discord"}
    assert {name: home.chat_id for name, home in context.home_channels.items()} == {"telegram": "-100"}


def test_live_connections_can_be_given() -> None:
    context = build_session_context(SOURCE, CONFIG, connected=[Platform.DISCORD])
    assert context.connected_platforms == ("discord",)
    assert not context.home_channels


def test_defaults_work() -> None:
    context = build_session_context(SOURCE, GatewayConfig())
    assert context.connected_platforms == ("local",)
    assert (context.session_key, context.session_id, context.created_at, context.updated_at) == (
        "",
        "",
        None,
        None,
    )


def test_entry_gives_key_id_times_and_reset() -> None:
    entry = SessionEntry("k", "s", NOW, NOW, was_auto_reset=True, auto_reset_reason="idle", reset_had_activity=True)
    context = build_session_context(SOURCE, CONFIG, entry)
    assert (context.session_key, context.session_id, context.created_at, context.updated_at) == (
        "k",
        "s",
        NOW,
        NOW,
    )
    assert (context.was_auto_reset, context.auto_reset_reason, context.reset_had_activity) == (
        True,
        "idle",
        True,
    )
    assert context.source is SOURCE


def test_declared_traits_come_before_known_ones() -> None:
    declared = {"discord": PlatformTraits(note="mine")}
    context = build_session_context(SOURCE, CONFIG, traits=declared)
    assert context.traits_of(Platform.DISCORD).note == "mine"
    assert context.traits_of(Platform.DISCORD).redactable_ids
    assert not context.traits_of(Platform.SLACK).redactable_ids
    assert context.traits_of(Platform.TELEGRAM).redactable_ids

"""The section of the configuration, and what is said about one that is wrong."""

from pathlib import Path

import pytest

from config import ConfigError, load_config
from config.platforms import TelegramConfig

WEBHOOK = "token: t, mode: webhook, webhook_url: 'https://a.example/platforms/telegram/updates'"


def load(folder: Path, section: str) -> TelegramConfig:
    file = folder / "gateway.yaml"
    file.write_text(f"platforms:\n  telegram: {{{section}}}\n")
    telegram = load_config(file).platform("telegram")
    assert isinstance(telegram, TelegramConfig)
    return telegram


def test_defaults(tmp_path: Path) -> None:
    telegram = load(tmp_path, "token: t")
    assert (telegram.mode, telegram.require_mention, telegram.link_previews) == ("polling", True, False)
    assert telegram.api_base_url == "https://api.telegram.org"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("mode: polling", "platforms.telegram.token"),
        ("token: t, mode: webhook", "platforms.telegram.webhook_url"),
        (WEBHOOK, "platforms.telegram.secret_token"),
        (f"{WEBHOOK}, secret_token: 'with spaces'", "platforms.telegram.secret_token"),
        ("token: t, mode: push", "platforms.telegram.mode"),
        ("token: t, max_messages: 0", "platforms.telegram.max_messages"),
        ("token: t, require_mentions: false", "require_mention"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, section: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, section)
    assert key in str(refused.value)
    assert "with spaces" not in str(refused.value)


def test_secret_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from_a-file\n")
    telegram = load(tmp_path, f"{WEBHOOK}, secret_token_file: {tmp_path / 'secret'}")
    assert telegram.secret_token is not None
    assert telegram.secret_token.get_secret_value() == "from_a-file"
    assert "from_a-file" not in repr(telegram)

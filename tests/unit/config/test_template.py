"""The file that `config init` writes, and the reference: made from the models, and true to them."""

import re
from pathlib import Path

import pytest
import yaml

from config import GatewayConfig, ModelAgentConfig, SlackConfig, TelegramConfig
from config.environment import CUSTOMARY
from config.reference import REFERENCE_FILE, main, render_reference
from config.schema import FILE_SUFFIX, fields_of
from config.template import render_template
from tests.unit.config.support import Sandbox

SETTING = re.compile(r"^( *)#(?=[a-z])", re.MULTILINE)
DEFAULT = re.compile(r"^( *)#(?=[a-z])(?!.*  # example$)", re.MULTILINE)


def test_template_as_it_is_holds_the_defaults(sandbox: Sandbox) -> None:
    assert sandbox.load(render_template()) == GatewayConfig()


def test_template_with_every_default_uncommented_holds_the_defaults(sandbox: Sandbox) -> None:
    text, count = DEFAULT.subn(r"\1", render_template())
    assert count >= 30
    settings = sandbox.settings(text)
    assert settings.config == GatewayConfig()
    assert settings.origin["http.port"] != "default"


def test_template_with_everything_uncommented_is_valid(sandbox: Sandbox) -> None:
    environ = {"OPENAI_API_KEY": "k"} | {name: "t" for name in CUSTOMARY if name.endswith(("TOKEN", "SECRET"))}
    config = sandbox.load(SETTING.sub(r"\1", render_template()), environ)
    assert config.enabled_platforms == ("local", "telegram", "discord", "slack")
    assert isinstance(config.agent_config("assistant"), ModelAgentConfig)
    assert config.get_reset_policy("discord").mode == "none"


def test_template_names_every_key() -> None:
    shown = yaml.safe_load(SETTING.sub(r"\1", render_template()))
    assert list(shown) == list(fields_of(GatewayConfig))
    for section, model in (
        (shown["platforms"]["telegram"], TelegramConfig),
        (shown["platforms"]["slack"], SlackConfig),
        (shown["agents"]["assistant"], ModelAgentConfig),
    ):
        assert list(section) == [name for name in fields_of(model) if not name.endswith(FILE_SUFFIX)]


def test_template_lines_are_short() -> None:
    assert max(map(len, render_template().splitlines())) <= 110


def test_every_field_says_what_it_means() -> None:
    missing = [
        line for line in render_reference().splitlines() if line.startswith("| `") and re.search(r"\|\s+\|", line)
    ]
    assert missing == []


def test_reference_is_fresh() -> None:
    assert REFERENCE_FILE.read_text(encoding="utf-8") == render_reference(), (
        "docs/configuration.md is stale: run python -m config.reference"
    )


@pytest.mark.parametrize("name", CUSTOMARY)
def test_reference_names_customary_variables(name: str) -> None:
    assert f"| `{name}` |" in render_reference()


def test_reference_is_written_where_it_is_told(tmp_path: Path) -> None:
    main([str(tmp_path / "out.md")])
    assert (tmp_path / "out.md").read_text(encoding="utf-8") == render_reference()

"""`config show`: valid YAML, every effective value, origins, and no secret."""

from collections.abc import Callable

import pytest
import yaml

from config import ADAPTER_GROUP
from config.addresses import address_secrets, without_secrets
from config.show import in_yaml, render
from tests.unit.config.support import Sandbox

SECRET = "s3cret-value"


def test_shows_every_effective_value(sandbox: Sandbox) -> None:
    shown = yaml.safe_load(render(sandbox.settings("http: {port: 1}\n"), origin=False))
    assert shown["http"] == {
        "enabled": True,
        "host": "127.0.0.1",
        "port": 1,
        "api_key": None,
        "allowed_hosts": [],
        "answer_seconds": 600,
        "max_waiting": 1000,
    }
    assert shown["sessions"]["reset"] == {"mode": "idle", "at_hour": 4, "idle_minutes": 1440}
    assert shown["sessions"]["reset_by_type"] == {}
    assert shown["timezone"] == "UTC"
    assert "#" not in render(sandbox.settings(""), origin=False)


def test_masks_secrets_and_decides_what_is_on(sandbox: Sandbox, install: Callable[[str, str], None]) -> None:
    install(ADAPTER_GROUP, "zulip")
    text = f"""\
http: {{api_key: {SECRET}}}
agents: {{a: {{type: model, model: 'x:y', api_key: {SECRET}}}}}
platforms:
  telegram: {{token: {SECRET}}}
  slack: {{enabled: false, bot_token: {SECRET}}}
  zulip: {{site: there, password: {SECRET}, login: {{api_key: {SECRET}, name: me}}}}
"""
    for origin in (False, True):
        text_shown = render(sandbox.settings(text), origin=origin)
        assert SECRET not in text_shown
        shown = yaml.safe_load(text_shown)
        assert shown["http"]["api_key"] == "***"
        assert shown["agents"]["a"]["api_key"] == "***"
        assert shown["platforms"]["telegram"]["token"] == "***"
        assert shown["platforms"]["telegram"]["enabled"] is True
        assert shown["platforms"]["slack"]["enabled"] is False
        assert "token" not in shown["platforms"]["slack"]
        zulip = shown["platforms"]["zulip"]
        assert (zulip["site"], zulip["password"]) == ("there", "***")
        assert zulip["login"] == {"api_key": "***", "name": "me"}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://a.example/v1?key={SECRET}", "https://a.example/v1?key=***"),
        (f"https://a.example/v1?a=b&api_key={SECRET}&c=d", "https://a.example/v1?a=b&api_key=***&c=d"),
        (f"https://a.example/v1?X-Token={SECRET}:{SECRET}#end", "https://a.example/v1?X-Token=***#end"),
        ("https://a.example/v1?keyboard=qwertz&page=1", "https://a.example/v1?keyboard=qwertz&page=1"),
    ],
)
def test_masks_secrets_in_addresses(sandbox: Sandbox, address: str, shown: str) -> None:
    text = f"platforms: {{telegram: {{token: t, webhook_url: '{address}'}}}}\n"
    assert yaml.safe_load(render(sandbox.settings(text), origin=True))["platforms"]["telegram"]["webhook_url"] == shown


def test_masks_the_login_in_an_address_of_another_package(
    sandbox: Sandbox, install: Callable[[str, str], None]
) -> None:
    install(ADAPTER_GROUP, "zulip")
    text = f"platforms: {{zulip: {{sites: ['https://me:{SECRET}@there/x@y', 'me@there']}}}}\n"
    shown = yaml.safe_load(render(sandbox.settings(text), origin=False))
    assert shown["platforms"]["zulip"]["sites"] == ["https://***@there/x@y", "me@there"]


@pytest.mark.parametrize(
    ("login", "secret"),
    [
        (f"me:{SECRET}", SECRET),
        (f"me:in@{SECRET}", f"in@{SECRET}"),
        (f"me:in:{SECRET}", f"in:{SECRET}"),
        (f"{SECRET}:", SECRET),
        (SECRET, SECRET),
    ],
)
def test_of_a_login_in_an_address_nothing_is_left(login: str, secret: str) -> None:
    address = f"https://{login}@there/x@y"
    assert without_secrets(address, "***") == "https://***@there/x@y"
    assert set(address_secrets(address)) == {secret}


def test_shows_where_each_value_comes_from(sandbox: Sandbox) -> None:
    settings = sandbox.settings(
        "busy: steer\nplatforms:\n  telegram: {}\n", {"TELEGRAM_BOT_TOKEN": SECRET}, {"http.port": 2}
    )
    lines = render(settings, origin=True).splitlines()
    found = {line.split("  # ")[0].strip(): line.split("  # ")[1] for line in lines if "  # " in line}
    assert found["busy: steer"] == f"{sandbox.file}:1"
    assert found["token: '***'"] == "environment TELEGRAM_BOT_TOKEN"
    assert found["port: 2"] == "command line"
    assert found["host: 127.0.0.1"] == "default"
    columns = {line.index("  # ") for line in lines if "  # " in line}
    assert len(columns) == 1
    assert yaml.safe_load("\n".join(lines))["busy"] == "steer"


def test_long_values_do_not_push_origins_away_and_stay_on_their_line(sandbox: Sandbox) -> None:
    prompt = "a long prompt, " * 20 + "\\n# two: lines \\u2028"
    settings = sandbox.settings(f'agents: {{a: {{type: local, system_prompt: "{prompt}"}}}}\n')
    text = render(settings, origin=True)
    shown = yaml.safe_load(text)
    assert shown["agents"]["a"]["system_prompt"] == "a long prompt, " * 20 + "\n# two: lines \u2028"
    assert text.count("a long prompt") == 20
    busy = next(line for line in text.splitlines() if line.startswith("busy"))
    assert busy.index("  # ") <= 60


def test_what_is_shown_can_be_read_back(sandbox: Sandbox) -> None:
    text = "platforms: {discord: {token: t, threads: off}}\nallowed_users: ['1', 'yes']\ndrain_seconds: 0.5\n"
    settings = sandbox.settings(text)
    again = sandbox.settings(render(settings, origin=True)).config
    assert again.model_copy(update={"platforms": {}}) == settings.config.model_copy(update={"platforms": {}})
    assert render(sandbox.settings(render(settings, origin=False)), origin=False) == render(settings, origin=False)


@pytest.mark.parametrize(
    "value",
    [
        "a bell\x07 and 🎉",
        "\x7f\x85\u2028",
        "two\nlines 😀",
        "\ud800",
        "\ufeff\u200b",
        ["in\na list", 1],
        {"k\x07": "🎉\n"},
    ],
)
def test_what_does_not_show_is_escaped_on_one_line(value: object) -> None:
    line = in_yaml(value)
    assert len(line.splitlines()) == 1
    assert yaml.safe_load(f"key: {line}") == {"key": value}

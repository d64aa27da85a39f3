"""Owns `docs/configuration.md`, made from the models: `python -m config.reference` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from pydantic.fields import FieldInfo

from config.agents import agent_model
from config.changes import RESTART_KEYS
from config.environment import CUSTOMARY, customary_of, variable_of
from config.models import GatewayConfig, SessionResetPolicy
from config.platforms import HomeChannel, platform_model
from config.schema import Shape, fields_of, in_words, shape_of
from config.show import in_yaml
from config.webhooks import WebhookConfig

REFERENCE_FILE: Final = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
"""Where the reference stands in the source tree."""

_HEAD: Final = """\
<!-- Made by `python -m config.reference` from the models in config/. Do not edit. -->

# Configuration

Hermes Gateway reads one YAML file, `gateway.yaml` in its home folder (`HERMES_GATEWAY_HOME`, by default
`~/.hermes-gateway`), or the one that `--config` names. Without a file it runs on defaults.

| command | what it does |
|---|---|
| `hermes-gateway config init` | writes a commented file |
| `hermes-gateway config check` | validates it; each error names file, line and key, and says what to write instead |
| `hermes-gateway config show --origin` | shows the values that hold, secrets masked, with where each comes from |
| `hermes-gateway config path` | shows where the file is |
| `hermes-gateway config reload` | has the gateway that runs read it again |

## Where values come from

The command line comes before the environment, the environment before the file, the file before the defaults. An
empty variable, and a key with nothing after it, count as not set. A time may have at most 1000000000 of its unit.

- **Any key** can be set in the environment: `HERMES_GATEWAY__`, then the parts of the key in capitals, joined by two
  underscores, as in `HERMES_GATEWAY__HTTP__PORT=9000`. A list is written as `a,b` or `[a, b]`, a section as YAML or
  JSON. A variable that names no key is an error.
- **Customary names** work too; see below. A token switches its platform on; the other names complete a platform that
  is on. The longer name of the same key comes first.
- **References** in the file read the environment: `${NAME}`, or `${NAME:-default}` for when it is not set or empty;
  `$$` stands for `$`. A secret whose variable is not set counts as not set; anywhere else that is an error.
- **Secrets in files**: beside each secret there is a key that ends in `_file` and names a file that holds the secret
  and nothing else, as in `token_file: /run/secrets/telegram`. A relative path starts at the configuration file.
- **A platform is on** when it has a section or a token, unless the section says `enabled: false`. The terminal
  (`local`) is always on.

"""

_RELOAD: Final = (
    "The file can change while the gateway runs: it is read again, and what has changed is put in force; see"
    " [operations.md](operations.md#changing-the-configuration-while-it-runs). Only these keys need a restart:"
)

_AGENTS_TEXT: Final = (
    "`type` decides which keys apply. The names `echo` and `local` need no definition."
    " An agent of another package takes the keys that the package defines."
)
_PLATFORMS_TEXT: Final = (
    "A platform of another package takes `enabled`, `token`, `token_file`, `api_base_url`, the keys that say who may"
    " talk to the agent, and `home_channel`, and the keys that the package defines."
)
_AGENT_TYPES: Final = ("model", "local", "echo")
_PLATFORMS: Final = ("local", "telegram", "discord", "slack")


def render_reference() -> str:
    """Return the whole reference as Markdown."""
    return _HEAD + "\n".join(_body()) + "\n"


def _body() -> Iterator[str]:
    keys = ", ".join(f"`{key}`" for key in RESTART_KEYS)
    yield from ("## Changes", "", *wrap(f"{_RELOAD} {keys}.", 118, break_on_hyphens=False), "")
    yield from _customary()
    top = fields_of(GatewayConfig)
    plain = {name: info for name, info in top.items() if not _has_keys(info)}
    yield from _table("Top level", "Keys that stand in no section.", plain, ())
    for name, info in top.items():
        shape = shape_of(info.annotation, info, name)
        if name == "agents":
            yield from _agents(shape)
        elif name == "platforms":
            yield from _platforms(shape)
        elif name == "webhooks":
            yield from _webhooks(shape)
        elif shape.is_section:
            yield from _tables(shape, (name,))


def _tables(shape: Shape, path: tuple[str, ...]) -> Iterator[str]:
    fields = fields_of(shape.type)
    leaves = {name: info for name, info in fields.items() if not _nested(info)}
    yield from _table(f"`{'.'.join(path)}`", shape.description, leaves, path)
    for name, info in fields.items():
        if _nested(info):
            yield from _tables(shape_of(info.annotation, info, name), (*path, name))


def _agents(shape: Shape) -> Iterator[str]:
    yield from ("## `agents.<name>`", "", f"{shape.description} {_AGENTS_TEXT}", "")
    for kind in _AGENT_TYPES:
        model = agent_model(kind)
        title = f"`agents.<name>` with `type: {kind}`"
        yield from _table(title, _doc(model), fields_of(model), ("agents", "<name>"), level=3)


def _webhooks(shape: Shape) -> Iterator[str]:
    text = f"{shape.description} See [webhooks.md](webhooks.md)."
    yield from _table("`webhooks.<name>`", text, fields_of(WebhookConfig), ("webhooks", "<name>"))


def _platforms(shape: Shape) -> Iterator[str]:
    yield from ("## `platforms.<name>`", "", f"{shape.description} {_PLATFORMS_TEXT}", "")
    for name in _PLATFORMS:
        model = platform_model(name)
        path = ("platforms", name)
        yield from _table(f"`{'.'.join(path)}`", _doc(model), fields_of(model), path, level=3)
    home = ("platforms", "<name>", "home_channel")
    yield from _table(f"`{'.'.join(home)}`", _doc(HomeChannel), fields_of(HomeChannel), home, level=3)


def _table(
    title: str, text: str, fields: Mapping[str, FieldInfo], path: tuple[str, ...], *, level: int = 2
) -> Iterator[str]:
    yield from (f"{'#' * level} {title}", "", text, "")
    yield from ("| key | type | default | meaning | environment |", "|---|---|---|---|---|")
    for name, info in fields.items():
        shape = shape_of(info.annotation, info, name)
        names = [variable_of((*path, name))]
        if customary := customary_of((*path, name)):
            names.insert(0, customary)
        cells = (
            f"`{name}`",
            in_words(shape),
            "must be given" if name == "type" else _default(info),
            shape.description,
            ", ".join(f"`{variable}`" for variable in names),
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _customary() -> Iterator[str]:
    yield from ("## Customary names", "", "| environment | key |", "|---|---|")
    yield from (f"| `{name}` | `{'.'.join(path)}` |" for name, path in CUSTOMARY.items())
    yield ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "must be given"
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SessionResetPolicy) or value is None:
        return "–"
    return f"`{in_yaml(value)}`"


def _has_keys(info: FieldInfo) -> bool:
    shape = shape_of(info.annotation, info)
    return shape.is_section or shape.is_mapping


def _nested(info: FieldInfo) -> bool:
    return shape_of(info.annotation, info).is_section and info.default_factory is not None


def _doc(model: Any) -> str:  # noqa: ANN401
    return (model.__doc__ or "").strip()


def main(arguments: list[str]) -> None:
    """Write the reference to the file that is named, or to its place in the source tree."""
    target = Path(arguments[0]) if arguments else REFERENCE_FILE
    target.write_text(render_reference(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

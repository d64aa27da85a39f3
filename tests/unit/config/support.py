"""What the tests of the configuration share: a folder with a file, and an environment that is only a test's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import ConfigError, GatewayConfig, Problem, Settings, load_settings

Overrides = Mapping[str, object]
Environ = Mapping[str, str]


@dataclass(frozen=True)
class Sandbox:
    """A folder whose `gateway.yaml` a test writes."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "gateway.yaml"

    def settings(self, text: str, environ: Environ | None = None, overrides: Overrides | None = None) -> Settings:
        self.file.write_text(text, encoding="utf-8")
        return load_settings(self.file, overrides=overrides, environ=environ or {})

    def load(self, text: str, environ: Environ | None = None, overrides: Overrides | None = None) -> GatewayConfig:
        return self.settings(text, environ, overrides).config

    def problems(
        self, text: str, environ: Environ | None = None, overrides: Overrides | None = None
    ) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as caught:
            self.settings(text, environ, overrides)
        return caught.value.problems

    def problem(self, text: str, environ: Environ | None = None, overrides: Overrides | None = None) -> Problem:
        (only,) = self.problems(text, environ, overrides)
        return only

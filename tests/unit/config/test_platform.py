"""`Platform`: which names it takes, and that it is text in every respect."""

import copy
import json
import pickle
from collections.abc import Callable

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from config import ADAPTER_GROUP, Platform
from config.platform import BUILT_IN_PLATFORMS, installed_names

Install = Callable[[str, str], None]


class Holder(BaseModel):
    platform: Platform
    counts: dict[Platform, int] = {}


@pytest.mark.parametrize("name", BUILT_IN_PLATFORMS)
def test_built_in_name_is_a_class_attribute(name: str) -> None:
    assert Platform(name) == name
    assert getattr(Platform, name.upper()) == name


def test_is_the_plain_text_in_comparison_hash_and_look_up() -> None:
    counts: dict[str, int] = {Platform.SLACK: 1}
    assert counts["slack"] == 1
    assert {"slack": 1}[Platform.SLACK] == 1
    assert hash(Platform.SLACK) == hash("slack")
    assert f"{Platform.SLACK}" == "slack"
    assert type(Platform.SLACK.value) is str
    assert type(str(Platform.SLACK)) is str
    assert repr(Platform.SLACK) == "Platform('slack')"
    assert json.dumps({Platform.SLACK: Platform.SLACK}) == '{"slack": "slack"}'


def test_of_a_platform_is_the_same_platform() -> None:
    assert Platform(Platform.IRC) is Platform.IRC
    assert pickle.loads(pickle.dumps(Platform.IRC)) == Platform.IRC
    assert isinstance(copy.deepcopy(Platform.IRC), Platform)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("telegarm", "did you mean 'telegram'?"), ("Discord", "did you mean 'discord'?"), ("x", "known are local,")],
)
def test_unknown_name_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="unknown platform") as caught:
        Platform(name)
    assert hint in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, b"slack", ["slack"]])
def test_what_is_not_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is text"):
        Platform(value)  # type: ignore[arg-type]


def test_name_of_an_installed_adapter_is_taken(install: Install) -> None:
    with pytest.raises(ValueError, match="unknown platform"):
        Platform("zulip")
    install(ADAPTER_GROUP, "zulip")
    assert Platform("zulip") == "zulip"
    with pytest.raises(ValueError, match="did you mean 'zulip'"):
        Platform("zulipp")


def test_installed_packages_are_not_asked_for_a_built_in_name(install: Install) -> None:
    before = installed_names.cache_info().misses
    Platform("matrix")
    assert installed_names.cache_info().misses == before


def test_is_a_field_and_a_key_of_models() -> None:
    held = Holder.model_validate({"platform": "signal", "counts": {"email": 2}})
    assert held.platform is Platform("signal") or held.platform == Platform.SIGNAL
    assert isinstance(held.platform, Platform)
    assert all(isinstance(key, Platform) for key in held.counts)
    assert Holder.model_validate_json(held.model_dump_json()) == held
    assert held.model_dump(mode="json") == {"platform": "signal", "counts": {"email": 2}}
    assert TypeAdapter(Platform).json_schema() == {"type": "string"}


def test_unknown_name_in_a_model_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="did you mean 'signal'"):
        Holder.model_validate({"platform": "signl"})

"""Requests of the set-up fail in words."""

import pytest

from gateway.setup.web import Http, UnreachableError


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1080", "ftp://127.0.0.1", "http://[::1", "http://ann:secret@host:port"]
)
def test_proxy_that_is_none_for_http(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UnreachableError, match=r"example\.invalid cannot be reached .*HTTPS_PROXY") as failed:
        Http().call("GET", "https://example.invalid/")
    assert "secret" not in str(failed.value)

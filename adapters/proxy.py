"""The proxy between this machine and a platform, as the environment names it."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from adapters.base import AccountError


def proxy_of(url: str) -> str | None:
    """The proxy for an address by the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`); none for this machine.

    Raises `AccountError` for one that cannot be used.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not proxy or parts.hostname in ("localhost", "127.0.0.1", "::1") or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not _is_http_proxy(proxy):
        raise AccountError(
            "the proxy that the environment names (HTTPS_PROXY, ALL_PROXY) has to be one for HTTP,"
            " with an address like http://host:3128"
        )
    return proxy


def _is_http_proxy(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False

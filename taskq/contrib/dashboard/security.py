"""What every answer says to browsers, and which requests may change something."""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.requests import Request

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        # Not no-referrer: browsers would say the origin "null" with each form that is sent.
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }
)


def is_from_page(request: Request) -> bool:
    """Whether a request comes from a page of this origin, as the browser says and no page can forge.

    ``Sec-Fetch-Site`` says so where there is TLS, or the host is this machine; elsewhere browsers send
    ``Origin`` alone, of which the host has to be the one that was asked. Its scheme may be a proxy's.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return False
    return _host(urlsplit(origin).netloc) == _host(request.headers.get("host", "")) != ""


def is_host(request: Request, names: frozenset[str]) -> bool:
    """Whether a request names one of some hosts; a name without a port stands for all ports.

    A page elsewhere can have its own name lead to this machine, and read then what is shown here without a
    password.
    """
    host = request.headers.get("host", "").lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return host in names or name in names


def _host(text: str) -> str:
    return text.lower().removesuffix(":80").removesuffix(":443")

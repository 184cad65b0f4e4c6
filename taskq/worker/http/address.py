"""Where a worker answers by HTTP."""

import re
from ipaddress import IPv6Address
from typing import NamedTuple

_LOOPBACK = "127.0.0.1"
_HIGHEST_PORT = 65_535
_HOST_AND_PORT = re.compile(r"(?:(?P<host>\[[^\[\]]+\]|[^:\[\]\s]+):)?(?P<port>[0-9]{1,6})")


class HttpAddress(NamedTuple):
    """A host and a port; port 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_address(value: object) -> HttpAddress | None:
    """Read what an option says: a port, or a host and a port; None, or nothing, is None.

    Raises:
        ValueError: It is none of these.
    """
    if value is None or value == "" or isinstance(value, HttpAddress):
        return value or None  # type: ignore[return-value]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("give a port, as in 9090, or a host and a port, as in 0.0.0.0:9090")
    said = _HOST_AND_PORT.fullmatch(str(value).strip())
    if said is None:
        raise ValueError(
            "give a port, as in 9090, or a host and a port, as in 0.0.0.0:9090 or [::]:9090"
        )
    port = int(said["port"])
    if port > _HIGHEST_PORT:
        raise ValueError(f"a port is at most {_HIGHEST_PORT}")
    host = said["host"] or _LOOPBACK
    if host.startswith("["):
        host = str(IPv6Address(host.strip("[]")))
    return HttpAddress(host, port)

"""What the sessions of taskq's own connections rely on, whatever a server, a database or a role sets.

Only what every role may set. ``search_path``, ``synchronous_commit`` and what only slows a statement down
stay as they are.
"""

import os
from collections.abc import Mapping
from typing import Any

# What psycopg reads, and what a statement means, depends on these: they hold whatever a URL says.
_REQUIRED: Mapping[str, str] = {
    "client_encoding": "UTF8",
    # Times and intervals in another style are none that psycopg reads.
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    # With fewer digits than it takes, a server's clock is seconds late.
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # Claims pass over what others have locked; under a stricter level they would fail with it.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
}

# These are rules for a role's other programs. A URL's own options win over them.
_DEFAULTS: Mapping[str, str] = {
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # A client whose machine is lost is missed after half a minute, and what it has locked is free. By itself
    # the server waits for two hours.
    "tcp_keepalives_idle": "10",  # seconds, as the next one
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",  # milliseconds
    # Offsets come out the same everywhere, and psycopg knows this one.
    "TimeZone": "UTC",
}

# Since PostgreSQL 17; no server before takes it as an option.
_LATER: Mapping[str, str] = {"transaction_timeout": "0"}
_LATER_SINCE = 170000

SESSION_SETTINGS: Mapping[str, str] = {**_DEFAULTS, **_LATER, **_REQUIRED}


def startup_options(said: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> str:
    """The settings as ``options`` of a connection, which cost no round trip.

    Args:
        said: What the user's URL says of the connection.
        environ: Where libpq finds what it does not say.
    """
    defaults = dict(_DEFAULTS)
    if said.get("target_session_attrs") or environ.get("PGTARGETSESSIONATTRS"):
        # There a server is chosen by it.
        del defaults["default_transaction_read_only"]
    own = said.get("options") or environ.get("PGOPTIONS")
    return " ".join(filter(None, (_options(defaults), own, _options(_REQUIRED))))


def missing_settings(server_version: int, date_style: str | None) -> dict[str, str]:
    """What the options of a connection could not set.

    Args:
        server_version: As psycopg reports it.
        date_style: What the server says it is: libpq's ``PGDATESTYLE`` wins over options.
    """
    missing = dict(_LATER) if server_version >= _LATER_SINCE else {}
    if not reads_times(date_style):
        missing["DateStyle"] = _REQUIRED["DateStyle"]
    return missing


def reads_times(date_style: str | None) -> bool:
    """Whether psycopg reads times in this style."""
    return date_style is None or date_style.startswith("ISO")


def _options(settings: Mapping[str, str]) -> str:
    return " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items()
    )

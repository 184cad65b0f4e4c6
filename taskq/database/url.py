"""Which database a text names: SQLAlchemy's URLs, and what libpq takes, which may name several hosts."""

import re
from typing import Final

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from taskq.exceptions import InvalidDatabase

DRIVER: Final = "postgresql+psycopg"

_SCHEMES = {"postgres", "postgresql", DRIVER, f"{DRIVER}_async"}

# The scheme, who, and where.
_URL = re.compile(r"(?P<scheme>[\w+]+)://(?P<user>[^/?]*@)?(?P<hosts>[^/?]*)")

_PORTS = set("0123456789,")

# In a URL or among libpq's pairs: this program's own, which no driver knows.
_POOLER = re.compile(r"(?P<before>^|[?&\s])pooler=(?P<said>\w*)&?")
_SAID = {"true": True, "on": True, "yes": True, "1": True}
_SAID |= {"false": False, "off": False, "no": False, "0": False}


def database_url(name: str, database: str | URL) -> URL:
    """A URL for psycopg.

    Args:
        name: What it is the value of, for messages.
        database: A URL, of one host or of several as libpq writes them, or libpq's ``key=value`` pairs.

    Raises:
        InvalidDatabase: It is none of these, or not for PostgreSQL with psycopg.
    """
    url = _parsed(database)
    if url is None:
        raise InvalidDatabase(
            f"{name} is not a URL such as postgresql://user@host/name, or with several hosts "
            "postgresql://user@host:5432,other:5432/name (in a password, write "
            "@ as %40, : as %3A, / as %2F and % as %25)"
        )
    if url.drivername not in _SCHEMES:
        raise InvalidDatabase(
            f"{name} is a URL for {url.drivername}, and taskq needs {DRIVER}: "
            "begin it with postgresql://"
        )
    # SQLAlchemy hides a password only where it expects one.
    for password in url.normalized_query.get("password", ()):
        url = url.set(password=password)
    return _with_a_port_for_each(url.set(drivername=DRIVER).difference_update_query(["password"]))


def without_pooler(name: str, database: str | URL) -> tuple[str | URL, bool | None]:
    """What names a database, without what it says of a pooler; and that, if it says anything.

    Args:
        name: What it is the value of, for messages.
        database: A URL, or libpq's ``key=value`` pairs.

    Raises:
        InvalidDatabase: It says neither that there is a pooler, nor that there is none.
    """
    if isinstance(database, URL):
        said = database.query.get("pooler")
        bare: str | URL = database.difference_update_query(["pooler"])
    else:
        text: object = database
        if not isinstance(text, str):  # which is refused as no URL
            return database, None
        found = _POOLER.search(database)
        said = found and found["said"]
        bare = _POOLER.sub(r"\g<before>", database).rstrip("?&") if found else database
    if said is None:
        return database, None
    if str(said) not in _SAID:
        raise InvalidDatabase(f"{name} has pooler={said}: write pooler=true or pooler=false")
    return bare, _SAID[str(said)]


def without_secrets(url: URL) -> str:
    """The URL as a text that names the same database, with ``***`` where its password has to be written."""
    secret = [name for name in url.query if "password" in name or "secret" in name]
    if not url.password:
        url = url._replace(password=None)  # an empty one is shown as one, too
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _parsed(database: str | URL) -> URL | None:
    # Returns what its caller raises: an error raised in an except block would carry the parser's
    # along, which may quote the password.
    try:
        if isinstance(database, str) and (conninfo := _for_libpq(database)):
            return _parsed_by_libpq(conninfo)
        url = make_url(database)
    except (ArgumentError, ValueError, Error):
        return None
    # The rest of a password, after an @ in it.
    return None if "@" in (url.host or "") else url


def _for_libpq(database: str) -> str | None:
    """What to have libpq parse, if SQLAlchemy cannot, or takes it for something else."""
    if (parts := _URL.match(database)) is None:
        return database if "=" in database else None
    if parts["scheme"] not in _SCHEMES or not set(parts["hosts"]) & {",", "%"}:
        return None
    return f"postgresql{database.removeprefix(parts['scheme'])}"


def _parsed_by_libpq(conninfo: str) -> URL | None:
    said = {key: str(value) for key, value in conninfo_to_dict(conninfo).items()}
    if "hostaddr" in said:
        # SQLAlchemy counts the hosts by their names.
        said.setdefault("host", said["hostaddr"])
    if "@" in said.get("host", "") or not set(said.get("port", "")) <= _PORTS:
        return None
    return URL.create(
        DRIVER,
        username=said.pop("user", None),
        password=said.pop("password", None),
        database=said.pop("dbname", None),
        query=said,
    )


def _with_a_port_for_each(url: URL) -> URL:
    # One port is for all hosts, as for libpq; SQLAlchemy wants as many as there are hosts.
    hosts, port = url.query.get("host", ""), url.query.get("port") or url.port
    if isinstance(hosts, str) and "," in hosts and port is not None and str(port).isdigit():
        ports = ",".join([str(port)] * (hosts.count(",") + 1))
        # Not set(): for it, None is what stays.
        return url._replace(port=None).update_query_dict({"port": ports})
    return url

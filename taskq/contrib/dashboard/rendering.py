"""Templates, and what they say of times, numbers and values."""

import hashlib
import json
import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from taskq.encryption import is_encrypted
from taskq.messages import counted
from taskq.times import brief, relative
from taskq.unreadable import Unreadable

HERE = Path(__file__).parent
VERSION = version("taskq-sql")

_SHOWN = 120  # characters


# Text between two tags, in which no value has a bracket, and what turns the direction of writing for all that
# follows in it: of the words of the page as well.
_TEXT = re.compile(r">[^<]*[\u202a-\u202e\u2066-\u2069][^<]*")
_TURN = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def render(template: str, **values: Any) -> str:
    """What a template makes of some values, all of which are text and never markup.

    What turns the direction of writing is seen as an escape, also of a JSON text in a form, which it does not
    change. What fields and addresses hold stays as it is.
    """
    text = _environment().get_template(template).render(**values)
    if _TURN.search(text) is None:
        return text
    return _TEXT.sub(lambda found: _TURN.sub(_escape, found[0]), text)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": ago,
        "moment": moment,
        "seconds": seconds,
        "number": number,
        "brief_json": brief_json,
        "unquoted": unquoted,
        "counted": counted,
        "brief": brief,
    }
    environment.globals |= {"version": VERSION, "stamp": _stamp()}
    return environment


def _stamp() -> str:
    """What changes with the files that browsers keep: it is in their addresses."""
    files = sorted((HERE / "static").iterdir())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def exact(time: datetime) -> str:
    """A time to the second, in UTC."""
    if isinstance(time, Unreadable):
        return str(time)
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(time: datetime | None, now: datetime) -> str:
    """How long ago a time is, or in how long; with the time itself for those who ask."""
    if time is None:
        return ""
    if isinstance(time, Unreadable):
        return str(time)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        time.isoformat(), exact(time), relative(time, now)
    )


def moment(time: datetime | None, now: datetime) -> str:
    """A time, and how long ago it is."""
    if time is None:
        return ""
    if isinstance(time, Unreadable):
        return str(time)
    return Markup('<time datetime="{}">{}</time> <span class="quiet">{}</span>').format(
        time.isoformat(), exact(time), relative(time, now)
    )


def seconds(value: float | None) -> str:
    """A length of time, as exactly as people read it: ``3 ms``, ``1.25 s``, ``2m5s``."""
    if value is None:
        return "–"  # noqa: RUF001 - typography
    if value < 0.0995:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 99.5 else brief(value)


def number(value: float, estimated: bool = False) -> str:
    """A number with its thousands apart, and whether it is an estimate."""
    return f"{'~' if estimated else ''}{value:,}"


def pretty_json(value: Any) -> str:
    """A value as JSON, for people."""
    if isinstance(value, Unreadable):
        return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


def brief_json(value: Any) -> str:
    """A value as JSON in a line, no longer than a table has room for."""
    if isinstance(value, Unreadable):
        return str(value)
    if is_encrypted(value):
        return "encrypted"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def unquoted(text: str) -> str:
    """A value as people choose it, from how JSON writes it: text without its quotes."""
    value = json.loads(text)
    return value if isinstance(value, str) and value else text

"""Rubbish: what may come as an argument, a name, a number or a time, from the plain to the hostile."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

# What would do something to a page, a terminal, a format, a path, a statement, or whoever reads a line.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</textarea></template><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}{% raw %}{#",
    "\x1b[2J\x1b]0;title\x07\x1b[31m",
    "\x9b31m\x90\x9c",
    "\x1b]8;;https://elsewhere.example\x1b\\click\x1b]8;;\x1b\\",
    "\r\nERROR taskq: a line of its own",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "\u202eevil\u2066\u200f",
    "%s%n%(name)s{0.__class__}{}$1:x ",
    "[bold red]x[/] [link=https://elsewhere.example]",
    "'; DROP TABLE taskq_jobs; --",
    "--help",
    "@/etc/passwd",
    "../../../etc/passwd",
    "\ufeff\u200b\u00ad\ufffe\uffff",
    "é\u0301\u0301" + "\u0301" * 50,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\b\b\b\x7f\t",
    "null",
    "",
    " ",
)

# What no text of PostgreSQL's can hold.
UNSTORABLE = ("\0", "a\0b", "\ud800", "\udfff\ud800", "a\udc80b")

texts = (
    st.sampled_from(HOSTILE)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.builds(
        str.__mul__, st.sampled_from(["x", "é", "\x1b[", "<b>"]), st.sampled_from([600, 9_000])
    )
)
any_texts = texts | st.sampled_from(UNSTORABLE)


def _power(digits: int, sign: int) -> int:
    power: int = 10**digits
    return sign * power


numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**31, 2**53 + 1, -(2**63), 2**64, 1e308, 5e-324, -0.0])
    # Made when it is drawn: Hypothesis would show the list, and Python shows no number of so many digits.
    | st.builds(_power, st.sampled_from([4_299, 4_300, 10_000]), st.sampled_from([1, -1]))
)


def nested(depth: int, *, in_objects: bool = False) -> Any:
    """A value so deep in arrays or objects."""
    value: Any = "deep"
    for _ in range(depth):
        value = {"a": value} if in_objects else [value]
    return value


depths = st.builds(nested, st.sampled_from([50, 199, 200, 201, 203, 900]), in_objects=st.booleans())

scalars = any_texts | numbers | st.booleans() | st.none()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(any_texts, inner, max_size=4) | depths
    ),
    max_leaves=8,
)
objects = st.dictionaries(any_texts, values, max_size=4)


class Several(list[Any]):
    """Several values, of which a failure shows as much as can be read."""

    def __repr__(self) -> str:
        return f"{ascii_of(self)[:5_000]}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def several(of: st.SearchStrategy[Any], number: int) -> st.SearchStrategy[Several]:
    """So many values."""
    return st.lists(of, min_size=number, max_size=number).map(Several)


# Names: most of what is short enough, and what is nearly too long, or is.
names = any_texts | st.sampled_from(["n" * 499, "n" * 500, "n" * 501, "\U0001f468" * 500])

EDGES = (
    datetime.min.replace(tzinfo=UTC),
    datetime(1, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2, 1, 1, tzinfo=UTC),
    datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=-23, minutes=-59))),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    datetime(2051, 1, 1, tzinfo=timezone(timedelta(hours=-7, minutes=-17, seconds=-28))),
    datetime(9998, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(9999, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59))),
    datetime.max.replace(tzinfo=UTC),
)
times = st.sampled_from(EDGES) | st.datetimes(timezones=st.just(UTC) | st.timezones())
naive_times = st.datetimes()
waits = (
    st.sampled_from(
        [
            timedelta.min,
            timedelta.max,
            timedelta(),
            timedelta(microseconds=1),
            timedelta(days=36_500),
        ]
    )
    | st.timedeltas()
)


@contextmanager
def any_digits() -> Iterator[None]:
    """Numbers of any length may be written as text, which Python forbids from 4,300 digits on."""
    most = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(most)


def as_json(value: Any) -> str:
    """A value as JSON in ASCII: NUL and lone surrogates as escapes; NaN and infinities by name."""
    with any_digits():
        return json.dumps(value)


def as_json_that_jsonb_holds(of: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """JSON without what jsonb refuses: NUL, lone surrogates, NaN and infinities."""
    return of.map(as_json).filter(
        lambda text: not re.search(r"\\u0000|\\ud[89a-f]|NaN|Infinity", text)
    )


def ascii_of(value: Any) -> str:
    """A value as Python writes it, however long and deep it is."""
    try:
        with any_digits():
            return ascii(list(value))
    except RecursionError:
        return "too deep to be shown"


def same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are one: ``1`` is neither ``1.0`` nor ``True``, and order counts."""
    with any_digits():
        return json.dumps(one) == json.dumps(other)

"""Arguments and results: what is annotated is what arrives, and what cannot arrive is refused."""

import enum
import io
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue, SecretStr

from taskq.arguments.arguments import Arguments
from taskq.arguments.result import Result
from taskq.exceptions import InvalidArguments, InvalidResult, InvalidSignature

if TYPE_CHECKING:
    from nowhere import Ghost  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: Decimal


class Order(BaseModel):
    id: uuid.UUID
    items: dict[str, list[Point]]
    paid: datetime | None = None


class Loose(BaseModel):
    anything: Any


def rich(
    when: datetime,
    wait: timedelta,
    path: Path,
    price: Decimal,
    colour: Colour,
    order: Order,
    days: set[date],
    data: bytes,
    flag: bool,
    ratio: float,
    number: int,
    text: str,
    nothing: None,
    anything: Any,
    choice: int | str = 1,
    *,
    late: tuple[int, str] = (1, "a"),
) -> None:
    """Everything that pydantic carries and users pass."""


# What PostgreSQL's text can hold: no NUL, no lone surrogates.
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))]))
prices = st.decimals(allow_nan=False, allow_infinity=False)
points = st.builds(Point, st.integers(), prices)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {
            "when": moments,
            "wait": st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
            "path": texts.filter(bool).map(Path),
            "price": prices,
            "colour": st.sampled_from(Colour),
            "order": st.builds(
                Order,
                id=st.uuids(),
                items=st.dictionaries(texts, st.lists(points, max_size=2), max_size=2),
                paid=st.none() | moments,
            ),
            "days": st.sets(st.dates()),
            "data": texts.map(str.encode),
            "flag": st.booleans(),
            "ratio": floats,
            "number": st.integers(),
            "text": texts,
            "nothing": st.none(),
            "anything": json_values,
        },
        optional={"choice": st.integers() | texts, "late": st.tuples(st.integers(), texts)},
    )
)
def test_what_is_annotated_is_what_arrives(values: dict[str, Any]) -> None:
    arguments = Arguments(rich, task_name="shop.rich")
    stored = arguments.dump(**values)
    loaded = arguments.load(json.loads(json.dumps(stored, allow_nan=False)))
    assert loaded == values
    assert {name: type(value) for name, value in loaded.items()} == {
        name: type(value) for name, value in values.items()
    }


@pytest.mark.parametrize("value", [datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01", 5, None])
def test_a_value_of_several_types_comes_back_as_the_one_that_it_was(value: Any) -> None:
    def remember(value: datetime | str | int | None) -> None: ...

    arguments = Arguments(remember, task_name="remember")
    assert arguments.load(arguments.dump(value=value)) == {"value": value}


def move(point: Point, user_id: int, path: Path = Path("here"), note: str = "") -> None:
    """A task with two arguments that it needs and two that it does not."""


HERE: dict[str, Any] = {"point": Point(1, Decimal("2.5")), "user_id": 7}


def test_a_default_is_left_to_the_function() -> None:
    assert Arguments(move, task_name="move").dump(**HERE) == {
        "point": {"x": 1, "y": "2.5"},
        "user_id": 7,
    }


def test_values_of_other_names_are_checked_as_the_signature_annotates_them() -> None:
    def collect(first: int, **others: Decimal) -> None: ...

    arguments = Arguments(collect, task_name="collect")
    stored = arguments.dump(first=1, b=Decimal("0.1"))
    assert arguments.load(stored) == {"first": 1, "b": Decimal("0.1")}
    with pytest.raises(InvalidArguments, match=r"argument 'b' got 'x'"):
        arguments.dump(first=1, b="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_names_that_cannot_be_stored_are_refused_as_values_are(name: str) -> None:
    def collect(**others: Any) -> None: ...

    with pytest.raises(InvalidArguments, match="is not the name of an argument: it holds a"):
        Arguments(collect, task_name="collect").dump(**{name: 1})
    with pytest.raises(InvalidArguments, match="is not the name of an argument: it holds a"):
        Arguments(move, task_name="move").dump(**HERE | {name: 1})


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1,), HERE, r"takes its arguments by name, and got 1 by position \(1\)"),
        ((), {"user_id": 7}, "argument 'point' is missing"),
        ((), HERE | {"user": 7}, "argument 'user' is unknown, did you mean 'user_id'?"),
        ((), HERE | {"user_id": "many"}, "argument 'user_id' got 'many': .* valid integer"),
        ((), HERE | {"point": {"x": 1, "y": []}}, r"argument 'point' got .*: at y: Decimal"),
        ((), HERE | {"note": "a\0b"}, r"argument 'note' got 'a\\x00b': holds a NUL character"),
        ((), HERE | {"note": "\ud800"}, r"argument 'note' got '\\ud800': holds a lone surrogate"),
        ((), {}, "argument 'point' is missing; argument 'user_id' is missing"),
    ],
)
def test_a_refusal_names_task_argument_and_value(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    arguments = Arguments(move, task_name="shop.move")
    with pytest.raises(InvalidArguments, match=message) as refused:
        arguments.dump(*args, **kwargs)
    assert "shop.move" in str(refused.value)
    assert r"it takes point, user_id, path (optional), note (optional)" in str(refused.value)


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"deep": [float("inf")]},
        Order.model_construct(paid=float("nan")),
        {"a\0b": 1},
        ["\udcff"],
        object(),
        Rude(),
        b"\xff",
        CYCLE,
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_refused_when_deferred(value: Any) -> None:
    def anything(value: Any) -> None: ...

    with pytest.raises(InvalidArguments, match="argument 'value' got"):
        Arguments(anything, task_name="anything").dump(value=value)


def test_a_value_that_would_not_come_back_is_refused_when_deferred() -> None:
    def grid(cells: dict[tuple[int, int], str]) -> None: ...

    with pytest.raises(InvalidArguments, match="would not come back"):
        Arguments(grid, task_name="grid").dump(cells={(1, 2): "x"})


def test_nan_is_refused_inside_a_model_where_nothing_says_that_it_is_a_number() -> None:
    def measure(loose: Loose) -> None: ...

    with pytest.raises(InvalidArguments, match="JSON cannot carry it"):
        Arguments(measure, task_name="measure").dump(loose=Loose(anything=float("nan")))


def test_a_text_that_only_shows_an_escape_is_not_a_nul_character() -> None:
    arguments = Arguments(move, task_name="move")
    for note in (r"\u0000", "\\" * 3 + "u0000"):
        assert arguments.load(arguments.dump(**HERE, note=note))["note"] == note


def test_a_long_value_is_shown_short_and_escaped() -> None:
    arguments = Arguments(move, task_name="move")
    with pytest.raises(InvalidArguments) as refused:
        arguments.dump(**HERE | {"user_id": "line\nbreak" * 10_000})
    assert len(str(refused.value)) < 500
    assert "\n" not in str(refused.value)


def test_a_value_with_many_faults_is_refused_in_a_few_words() -> None:
    def add(numbers: list[int]) -> None: ...

    with pytest.raises(InvalidArguments, match=r"at 2: .* integer.*; and 9997 more") as refused:
        Arguments(add, task_name="add").dump(numbers=["x"] * 10_000)  # type: ignore[list-item]
    assert len(str(refused.value)) < 1000


def test_stored_arguments_that_no_longer_fit_are_refused_by_name() -> None:
    stored: dict[str, JsonValue] = {"point": {"x": 1, "y": "2"}, "user_id": 7, "gone": True}
    with pytest.raises(InvalidArguments, match=r"'shop.move': argument 'gone' is unknown"):
        Arguments(move, task_name="shop.move").load(stored)


def by_position(a: int, /) -> None: ...
def star(*a: int) -> None: ...
def stream(a: io.StringIO) -> None: ...
def secret(a: list[SecretStr]) -> None: ...
def ghost(a: "Ghost") -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (by_position, "parameter 'a: int' can only be given by position"),
        (star, r"parameter '\*a: int' can only be given by position"),
        (stream, "parameter 'a' cannot be stored: .*StringIO"),
        (secret, "parameter 'a' cannot be stored: a secret is masked"),
        (ghost, "name 'Ghost' is not defined; import it at run time"),
    ],
)
def test_a_signature_that_could_never_be_stored_is_refused_when_declared(
    function: Callable[..., None], message: str
) -> None:
    with pytest.raises(InvalidSignature, match=f"task 'shop.odd'.*{message}"):
        Arguments(function, task_name="shop.odd")


def test_a_result_comes_back_as_the_annotated_type() -> None:
    async def best() -> list[Point]:
        return []

    result: Result[list[Point]] = Result(best, task_name="shop.best")
    points = [Point(1, Decimal("0.30"))]
    assert result.load(result.dump(points)) == points
    with pytest.raises(InvalidResult, match=r"task 'shop.best': the result 'none': .* valid list"):
        result.dump("none")  # type: ignore[arg-type]
    with pytest.raises(InvalidResult, match=r"the result {'x': 1}"):
        result.load({"x": 1})


def test_a_result_that_can_never_be_stored_is_refused_when_declared() -> None:
    def stream() -> io.StringIO:
        return io.StringIO()

    with pytest.raises(InvalidSignature, match="task 'stream' cannot store its result"):
        Result(stream, task_name="stream")


def test_postgresql_gives_back_what_was_dumped(connection: psycopg.Connection) -> None:
    def record(ratio: float, number: int, note: str, price: Decimal) -> None: ...

    arguments = Arguments(record, task_name="record")
    values: dict[str, Any] = {
        "ratio": 5e-324,
        "number": 10**400,
        "note": "\x01 \\u0000 \u2028 😀",
        "price": Decimal("1.10"),
    }
    row = connection.execute("SELECT %s::jsonb", [json.dumps(arguments.dump(**values))]).fetchone()
    assert row
    assert arguments.load(row[0]) == values


def test_names_and_places_are_shown_short_and_escaped() -> None:
    def take(**values: Any) -> None: ...

    long, odd = "n" * 10_000, "\x1b[2J\u202e\n"
    values = {long: {odd: 1e300}} | {f"{odd}{n}": float("nan") for n in range(100)}
    with pytest.raises(InvalidArguments) as refused:
        Arguments(take, task_name="take").dump(**values)
    said = str(refused.value)
    assert said.isprintable()
    assert len(said) < 5_000
    assert r"at \x1b[2J\u202e\n: 1e+300 would arrive as" in said
    assert "and 91 more" in said

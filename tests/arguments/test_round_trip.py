"""Through a real server: a value arrives as it was, by type and by value, or no row is written."""

import enum
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as given_any
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from taskq import App
from taskq.arguments.jsonb import from_jsonb
from taskq.exceptions import InvalidArguments
from taskq.task import Task


class Wait(enum.Enum):
    SHORT = timedelta(minutes=1)
    LONG = timedelta(hours=1)


class Level(enum.IntEnum):
    ONE = 1
    TWO = 2


@dataclass
class Point:
    x: float
    label: int | str


class Base(BaseModel):
    name: str


class Order(Base):
    model_config = {"alias_generator": to_camel, "populate_by_name": True}
    unit_price: Decimal | float | int
    wait: Wait = Wait.SHORT
    points: list[Point] = Field(default_factory=list)


texts = st.text(st.characters(codec="utf-8"), max_size=5)
numbers = st.integers() | st.floats()
values: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        numbers
        | texts
        | st.booleans()
        | st.none()
        | st.binary(max_size=3)
        | st.decimals(places=2)
        | st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones())
        | st.dates()
        | st.times(timezones=st.none() | st.just(UTC))
        | st.timedeltas()
        | st.uuids()
        | st.sampled_from([*Wait, *Level])
        | st.builds(Point, numbers, st.integers() | texts)
        | st.builds(Base, name=texts)
        | st.builds(Order, name=texts, unitPrice=st.integers() | st.just(Decimal("1.10")))
        | st.lists(values, max_size=3)
        | st.tuples(values, values)
        | st.dictionaries(texts | numbers | st.sampled_from([*Wait, *Level]), values, max_size=3)
        | st.frozensets(numbers | texts, max_size=3)
    )
)
ANNOTATIONS: list[Any] = [
    *(Any, object, int, float, str, bytes, bool, Decimal, datetime, date, time, timedelta, UUID),
    *(Path, Wait, Level, Point, Base, Order, Literal[Wait.LONG, 1, "a"]),
    *(int | float, int | str, str | date, bool | int | None, Base | Order, Order | Base),
    *(list[Any], list[float], list[int | float], tuple[Any, ...], set[int | str], Sequence[Any]),
    *(dict[str, Any], dict[Any, Any], dict[int, float], dict[float, str], dict[Wait, Any]),
    *(Mapping[Level, Any], OrderedDict[str, int], list[Wait | int], list[datetime | str]),
]


def identical(given: Any, arrived: Any) -> bool:
    """By type and by value, as a test that knows nothing of how taskq compares them."""
    if type(given) is not type(arrived):
        return False
    match given:
        case dict():
            pairs = zip(
                sorted(given.items(), key=repr), sorted(arrived.items(), key=repr), strict=True
            )
            return all(map(identical, *zip(*pairs, strict=True))) if given else not arrived
        case list() | tuple():
            return len(given) == len(arrived) and all(map(identical, given, arrived))
        case set() | frozenset():
            return sorted(map(repr, given)) == sorted(map(repr, arrived))
        case BaseModel() | Point():
            return identical(vars(given), vars(arrived))
        case datetime() | time():
            # The zone becomes its offset, and a naive time tells no first from a second hour.
            return bool(given.isoformat() == arrived.isoformat())
    return bool(given == arrived and repr(given) == repr(arrived))


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as app:
        yield app


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given_any(st.sampled_from(ANNOTATIONS), values)
def test_a_value_arrives_as_it_was_or_no_row_is_written(
    app: App, connection: psycopg.Connection, annotation: Any, value: Any
) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    task: Task[..., None] = Task(take, name="take")
    task.manager = app.job_manager
    connection.execute("TRUNCATE taskq_jobs CASCADE")
    try:
        job_id = task.defer(value=value)
    except InvalidArguments:
        assert not app.job_manager.list_jobs().jobs
        return
    stored = app.job_manager.get_job(job_id).task_kwargs
    assert stored == {"value": from_jsonb(task.arguments.dump(value=value)["value"])}
    arrived = task.arguments.load(stored)["value"]
    # What pydantic makes of it is what was given: 7 where "7" is passed for an int.
    given = TypeAdapter(annotation).validate_python(value)
    assert identical(given, arrived), (given, arrived)

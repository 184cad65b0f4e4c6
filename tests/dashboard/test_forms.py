"""Fields for the arguments of a task, and arguments from what is typed into them."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from taskq import App
from taskq.contrib.dashboard.forms import fields_of, read_fields, read_object
from taskq.exceptions import InvalidArguments
from taskq.task import Task

app = App("postgresql://nobody@localhost/nothing")


class Colour(Enum):
    RED = 1
    BLUE = "blue"


class Order(BaseModel):
    id: int


@app.task(name="every")
def every(
    text: str,
    number: int,
    share: float,
    yes: bool,
    colour: Colour,
    word: Literal["a", "b"],
    when: datetime,
    order: Order,
    numbers: list[int],
    whatever: Any,
    maybe: int | None = None,
    either: int | str = 1,
    note: str | None = None,
    bounded: int = 3,
) -> None: ...


def fields(task: Task[..., Any] = every, /, **given: Any) -> Mapping[str, Any]:
    return {field.name: field for field in fields_of(task.arguments.json_schema(), given)}


def test_each_type_has_its_field() -> None:
    kinds = {name: field.kind for name, field in fields().items()}
    assert kinds == {
        "text": "text",
        "number": "number",
        "share": "number",
        "yes": "choice",
        "colour": "choice",
        "word": "choice",
        "when": "text",
        "order": "json",
        "numbers": "json",
        "whatever": "json",
        "maybe": "number",
        "either": "json",
        "note": "json",
        "bounded": "number",
    }
    assert fields()["colour"].choices == ["1", '"blue"']
    assert fields()["when"].hint == "date-time"
    assert not fields()["maybe"].is_required


def test_what_is_typed_becomes_arguments_that_the_task_takes() -> None:
    typed = {
        "text": "5",
        "number": "5",
        "share": "0.5",
        "yes": "false",
        "colour": '"blue"',
        "word": '"b"',
        "when": "2030-01-31T18:00Z",
        "order": '{"id": 7}',
        "numbers": "[1, 2]",
        "whatever": '"x"',
        "maybe": "",
        "note": "",
    }
    form = {f"arg:{name}": value for name, value in typed.items()}
    arguments = read_fields(list(fields().values()), form)
    loaded = every.arguments.load(arguments)
    assert loaded["text"] == "5"
    assert loaded["number"] == 5
    assert loaded["yes"] is False
    assert loaded["colour"] is Colour.BLUE
    assert loaded["order"] == Order(id=7)
    assert "maybe" not in loaded


def test_what_a_job_was_given_is_in_the_fields_and_comes_out_the_same() -> None:
    given: dict[str, Any] = {
        "text": 'a "quoted" one',
        "number": 5,
        "share": 0.1,
        "yes": True,
        "colour": "blue",
        "word": "b",
        "when": "2030-01-31T18:00:00Z",
        "order": {"id": 7},
        "numbers": [1],
        "whatever": None,
        "note": None,
        "maybe": None,
        "bounded": 9,
    }
    shown = list(fields(**given).values())
    form = {field.field_name: field.value for field in shown}
    assert read_fields(shown, form) == given


def test_a_value_of_another_type_than_the_task_has_now_is_seen_as_json() -> None:
    field = fields(text=5)["text"]
    assert (field.kind, field.value) == ("json", "5")


def test_bounds_are_said() -> None:
    @app.task(name="bounded")
    def bounded(n: Annotated[int, Field(ge=1, le=9)]) -> None: ...

    [field] = fields(bounded).values()
    assert field.hint == "a whole number, 1 to 9"


@pytest.mark.parametrize("typed", ["{", "NaN", "1 2", "'x'", "[" * 100_000])
def test_what_is_no_json_is_refused(typed: str) -> None:
    with pytest.raises(InvalidArguments, match="is not JSON"):
        read_fields(list(fields().values()), {"arg:order": typed, "arg:text": "x"})
    with pytest.raises(InvalidArguments):
        read_object(typed, what="it")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"a": {"$ref": "#/nothing/there"}}},
        {"properties": {"a": True}},
        {"properties": {"a": {"anyOf": []}}},
    ],
)
def test_a_schema_that_leads_nowhere_is_a_field_for_json(schema: Mapping[str, Any]) -> None:
    [field] = fields_of(schema, {})
    assert field.kind == "json"

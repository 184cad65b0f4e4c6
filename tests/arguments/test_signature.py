"""Signatures: from wherever they come, they are honoured, and only what is needed is resolved."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NotRequired, TypedDict, Unpack

import pytest
from pydantic import BaseModel, Field

from taskq import App
from taskq.arguments.arguments import Arguments
from taskq.arguments.result import Result
from taskq.exceptions import InvalidArguments, InvalidSignature
from tests import elsewhere

if TYPE_CHECKING:
    from nowhere import Ghost  # type: ignore[import-not-found]


class Order(BaseModel):
    id: int


def ship(order: Order, copies: int = 1) -> None: ...


class Shipper:
    attribute: str

    def __init__(self, order: Order, copies: int = 1) -> None: ...


class Maker:
    def __new__(cls, order: Order, copies: int = 1) -> Maker:
        return super().__new__(cls)


@dataclass
class Shipment:
    order: Order
    copies: int = 1


class Model(BaseModel):
    order: Order
    copies: int = 1


class Named(NamedTuple):
    order: Order
    copies: int = 1


class Called:
    attribute: str

    def __call__(self, order: Order, copies: int = 1) -> None: ...

    def method(self, order: Order, copies: int = 1) -> None: ...

    @classmethod
    def of_class(cls, order: Order, copies: int = 1) -> None: ...


def with_signature(*args: Any, **kwargs: Any) -> None: ...


with_signature.__signature__ = inspect.signature(ship)  # type: ignore[attr-defined]


@wraps(ship)
def wrapper(*args: Any, **kwargs: Any) -> None: ...


def needs_more(to: str, order: Order, copies: int = 1) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        *(ship, wrapper, with_signature, elsewhere.logged(ship)),
        *(partial(needs_more, "ada"), partial(wrapper, copies=2), partial(elsewhere.logged(ship))),
        *(Called(), Called().method, Called.of_class, partial(Called())),
        *(Shipper, Maker, Shipment, Model, Named, partial(Shipper)),
    ],
    # Not by repr: a name with an address is another one in each process.
    ids=lambda function: getattr(function, "__qualname__", type(function).__name__),
)
def test_a_signature_is_honoured_wherever_it_comes_from(function: Callable[..., object]) -> None:
    arguments: Arguments[...] = Arguments(function, task_name="ship")
    stored = arguments.dump(order=Order(id=1), copies=2)
    assert arguments.load(stored) == {"order": Order(id=1), "copies": 2}
    with pytest.raises(InvalidArguments, match="argument 'copies' got 'many'"):
        arguments.dump(order=Order(id=1), copies="many")
    with pytest.raises(InvalidArguments, match="argument 'order' is missing"):
        arguments.dump(copies=2)


def test_a_signature_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="task 'odd': its signature cannot be read"):
        Arguments(type, task_name="odd")


def ghostly(context: Ghost, order: Order) -> Ghost: ...


def test_what_is_only_there_for_type_checkers_is_needed_for_what_is_stored_alone() -> None:
    app = App("postgresql://")
    task: Any = app.task(pass_context=True)(ghostly)
    assert task.arguments.dump(order=Order(id=1)) == {"order": {"id": 1}}
    with pytest.raises(
        InvalidSignature, match="name 'Ghost' is not defined; import it at run time"
    ):
        app.task(name="a", pass_context=True, store_result=True)(ghostly)
    with pytest.raises(
        InvalidSignature, match="name 'Ghost' is not defined; import it at run time"
    ):
        app.task(name="b")(ghostly)


class Options(TypedDict):
    copies: Annotated[int, Field(gt=0)]
    gift: NotRequired[bool]


def test_keywords_that_a_typed_dictionary_names_are_checked_as_it_says() -> None:
    def pack(order: Order, **options: Unpack[Options]) -> None: ...

    arguments: Arguments[...] = Arguments(pack, task_name="pack")
    assert arguments.dump(order=Order(id=1), copies=1, gift=True)["gift"] is True
    with pytest.raises(InvalidArguments, match=r"'copies' is missing; .* \(it takes order, copies"):
        arguments.dump(order=Order(id=1), color="red")
    with pytest.raises(InvalidArguments, match="'copies' got 0: Input should be greater than 0"):
        arguments.dump(order=Order(id=1), copies=0)


def test_what_a_wrapped_coroutine_or_a_class_ends_with_is_its_result() -> None:
    def later() -> Awaitable[Order]:
        raise NotImplementedError

    for function in (later, Order):
        result: Result[Order] = Result(function, task_name="later")
        assert result.load(result.dump(Order(id=1))) == Order(id=1)

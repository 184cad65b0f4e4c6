"""What would arrive as another value is refused, when it is passed or when it is declared."""

import enum
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    FutureDate,
    FutureDatetime,
    PlainSerializer,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    field_serializer,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import (
    no_info_plain_validator_function,
    plain_serializer_function_ser_schema,
)

from taskq.arguments.codec import Codec, Unserializable
from tests.arguments.test_codec import VIENNA, Circle, Colour, Drawing, Shape, Word


class Hides(BaseModel):
    shown: int = 0
    hidden: int = Field(default=0, exclude=True)


class Rounds(BaseModel):
    at: datetime

    @field_serializer("at")
    def to_seconds(self, at: datetime) -> str:
        return at.isoformat(timespec="seconds")


class Private(BaseModel):
    a: int = 0
    _b: int = PrivateAttr(default=0)

    @classmethod
    def of(cls, b: int) -> "Private":
        private = cls()
        private._b = b
        return private


@dataclass
class Kept:
    a: int = 0
    late: int = field(default=0, init=False)


class Doubles(BaseModel):
    a: Annotated[int, AfterValidator(lambda a: 2 * a)]


kept = Kept()
kept.late = 1

REFUSED: list[tuple[Any, Any, str]] = [
    (Shape, Circle(name="c", radius=3), r"Shape\(name='c'\) \(Shape instead of Circle\)"),
    (list[Shape], [Circle(name="c", radius=3)], r"at 0: Circle.* \(Shape instead of Circle\)"),
    (Drawing, Drawing(shapes=[Circle(name="c", radius=3)]), "at shapes.0: Circle"),
    (
        Hides,
        Hides(hidden=1),
        "at hidden: 1 would arrive as 0; look at what validates, writes or leaves it out",
    ),
    (Rounds, Rounds(at=datetime(2020, 1, 1, 0, 0, 0, 5)), "at at: .* would arrive as"),  # noqa: DTZ001
    (Private, Private.of(1), "at _b: 1 would arrive as 0"),
    (Kept, kept, "at late: 1 would arrive as 0"),
    (
        Annotated[int, AfterValidator(lambda a: a + 1)],
        1,
        "^1: would arrive as 3; look at what validates",
    ),
    (Doubles, Doubles(a=1), "at a: 2 would arrive as 4"),
    (Annotated[float, PlainSerializer(str)] | str, 1.5, r"'1.5' \(str instead of float\)"),
    (Annotated[float, PlainSerializer(round)], 1.5, "would arrive as 2.0"),
    (Sequence[int], (1, 2), r"would arrive as \[1, 2\] \(list instead of tuple\)"),
    (deque[int], deque([1], maxlen=3), r"would arrive as deque\(\[1\]\)"),
    (OrderedDict[str, int], OrderedDict(b=1, a=2), "would arrive as OrderedDict"),
    (dict[int | str, int], {1: 2}, r"would arrive as {'1': 2}"),
    (dict[tuple[int, int], int], {(1, 2): 3}, "would not come back"),
    (str | date, date(2020, 1, 1), "str instead of date"),
    (time, time(12, tzinfo=VIENNA), "would arrive as datetime.time"),
    (Any, (1, 2), r"would arrive as \[1, 2\] \(list instead of tuple\)"),
    (Any, [{"a": (1,)}], r"at 0.a: \(1,\) would arrive as \[1\]"),
    (Any, {1: "a"}, "would arrive as {'1': 'a'}"),
    (Any, {1, 2}, "list instead of set"),
    (Any, b"a", "str instead of bytes"),
    (Any, Decimal(1), "str instead of Decimal"),
    (Any, datetime(2020, 1, 1, tzinfo=UTC), "str instead of datetime"),
    (Any, Colour.RED, "str instead of Colour"),
    (Any, Word.RED, "str instead of Word"),
    (Any, Shape(name="s"), "dict instead of Shape"),
    (Any, SecretStr("hunter2"), "str instead of SecretStr"),
    (Any, {"a": [SecretBytes(b"hunter2")]}, "at a.0: .*str instead of SecretBytes"),
    (Any, 1e16, r"would arrive as 10000000000000000 \(int instead of float\)"),
    (Any, [-0.0], "at 0: -0.0 would arrive as 0.0"),
    (Any, (number for number in [1]), "can be read only once"),
    (
        Annotated[date, BeforeValidator(lambda day: day.isoformat())],
        date.min,
        "AttributeError when",
    ),
    (dict[str, Any], {"a": Shape(name="s")}, "at a: .*dict instead of Shape"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED)
def test_what_would_arrive_as_something_else_is_refused(
    annotation: Any, value: Any, message: str
) -> None:
    with pytest.raises(Unserializable, match=message) as refused:
        Codec[Any](annotation).dump(value)
    assert "hunter2" not in str(refused.value)


class Token:
    """Has no ``==``."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        def read(value: Any) -> Token:
            return value if isinstance(value, Token) else cls(value)

        return no_info_plain_validator_function(
            read, serialization=plain_serializer_function_ser_schema(lambda token: token.text)
        )


class Grows(Token):
    def __init__(self, text: str) -> None:
        super().__init__(text + "!")


class Odd(Token):
    """As an array of numpy does, it answers with what is neither True nor False."""

    def __eq__(self, other: object) -> Any:
        return [True, False]

    __hash__ = None  # type: ignore[assignment]


class Raises(Token):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Token, Odd, Raises])
def test_what_does_not_answer_whether_it_is_equal_arrives_if_it_is_written_alike(
    kind: type[Token],
) -> None:
    codec = Codec[Any](list[kind])  # type: ignore[valid-type]
    [arrived] = codec.load(codec.dump([kind("a")]))
    assert (type(arrived), arrived.text) == (kind, "a")


def test_what_has_no_equality_and_is_written_otherwise_the_next_time_is_refused() -> None:
    with pytest.raises(Unserializable, match="would arrive as"):
        Codec[Any](Grows).dump(Grows("a"))


class Deadline(BaseModel):
    at: FutureDatetime
    day: FutureDate


# Not tomorrow, as midnight may come between this and the test.
IN_TWO_DAYS = datetime.now(UTC) + timedelta(days=2)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (FutureDatetime, IN_TWO_DAYS),
        (FutureDate | None, IN_TWO_DAYS.date()),
        (dict[str, list[Deadline]], {"a": [Deadline(at=IN_TWO_DAYS, day=IN_TWO_DAYS.date())]}),
    ],
)
def test_what_had_to_lie_in_the_future_when_it_was_given_may_have_waited(
    annotation: Any, value: Any
) -> None:
    codec = Codec[Any](annotation)
    stored = codec.dump(value)
    assert codec.load(stored) == value
    late = json.loads(json.dumps(stored).replace(str(IN_TWO_DAYS.year), "2020"))
    assert "2020" in repr(codec.load(late))
    with pytest.raises(Unserializable, match="should be in the future"):
        codec.dump(late)


class Vault(BaseModel):
    keys: list[SecretStr]
    callback: Callable[[], None] | None = None


@pytest.mark.parametrize("annotation", [SecretBytes, list[Vault], dict[str, Vault] | None])
def test_a_secret_is_refused_when_it_is_declared_also_inside_of_a_model(annotation: Any) -> None:
    with pytest.raises(Unserializable, match="a secret is masked"):
        Codec(annotation)


def opaque() -> None: ...


class Callbacks(enum.Enum):
    FIRST = (opaque,)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Iterable[int], "can be read only once"),
        (list[Iterable[int]], "can be read only once"),
        (Callbacks, "JSON can carry none of <Callbacks.FIRST"),
    ],
)
def test_what_could_never_arrive_is_refused_when_it_is_declared(
    annotation: Any, message: str
) -> None:
    with pytest.raises(Unserializable, match=message):
        Codec(annotation)


def test_a_long_and_a_deep_value_are_compared_without_trouble() -> None:
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    long = {str(index): [index, float(index)] for index in range(20_000)}
    assert Codec[Any](Any).load(Codec[Any](Any).dump([deep, long])) == [deep, long]
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(Unserializable):
        Codec[Any](Any).dump(deep)

"""What arrives is what was given, by type and by value."""

import enum
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    computed_field,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from taskq.arguments.codec import Codec
from taskq.arguments.jsonb import from_jsonb

VIENNA = ZoneInfo("Europe/Vienna")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    unit_price: int = 0


class Named(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    unit_price: int = 0


class ReadByAlias(BaseModel):
    unit_price: int = Field(default=0, validation_alias="unitPrice")


class WrittenByAlias(BaseModel):
    unit_price: int = Field(default=0, serialization_alias="unitPrice")


class ReadByChoice(BaseModel):
    unit_price: int = Field(default=0, validation_alias=AliasChoices("price", AliasPath("p", 0)))


class Mixed(BaseModel):
    a: int = Field(default=0, alias="first")
    b: int = Field(default=0, serialization_alias="second")
    c: int = Field(default=0, validation_alias="third")


class TakesMore(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 0


class TakesNoMore(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.a


@dataclass
class Line:
    unit_price: Annotated[int, Field(alias="unitPrice")] = 0


class Typed(TypedDict):
    unit_price: Annotated[int, Field(alias="unitPrice")]


class Pair(NamedTuple):
    left: int
    right: str = ""


class Wait(enum.Enum):
    SHORT = timedelta(minutes=1)
    LONG = timedelta(hours=1)


class Price(enum.Enum):
    LOW = Decimal("1.10")


class Key(enum.Enum):
    ONE = UUID(int=1)


class Size(enum.Enum):
    SMALL = (1, 2)
    LARGE = (3, 4)


class Raw(enum.Enum):
    A = b"a"


class Ratio(enum.Enum):
    HALF = 0.5


class Number(enum.Enum):
    ONE = 1


class Level(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    RED = "red"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Settings(BaseModel):
    wait: Wait
    sizes: dict[Size, Literal[Colour.RED]]


class Shape(BaseModel):
    name: str


class Circle(Shape):
    kind: Literal["circle"] = "circle"
    radius: int


class Square(Shape):
    kind: Literal["square"] = "square"
    side: int


class Drawing(BaseModel):
    shapes: list[SerializeAsAny[Shape]]


AnyShape = Annotated[Circle | Square, Discriminator("kind")]


def aliased(price: int) -> list[tuple[Any, Any]]:
    models: list[Any] = [
        Camel(unitPrice=price),  # type: ignore[call-arg]
        Named(unit_price=price),
        ReadByAlias(unitPrice=price),  # type: ignore[call-arg]
        WrittenByAlias(unit_price=price),
        ReadByChoice(price=price),  # type: ignore[call-arg]
        Mixed(first=price, b=2, third=3),  # type: ignore[call-arg]
    ]
    return [
        *((type(model), model) for model in models),
        (list[Camel], [models[0]]),
        (dict[str, ReadByAlias], {"a": models[2]}),
        (tuple[Mixed, ReadByChoice], (models[5], models[4])),
        (Union[WrittenByAlias, None], models[3]),  # noqa: UP007
        (Line, Line(unit_price=price)),
    ]


ARRIVES: list[tuple[Any, Any]] = [
    *aliased(999),
    (TakesMore, TakesMore(a=1, b=[1, "2"])),  # type: ignore[call-arg]
    (TakesNoMore, TakesNoMore(a=1)),
    (Wait, Wait.LONG),
    (Price, Price.LOW),
    (Key, Key.ONE),
    (Size, Size.LARGE),
    (Raw, Raw.A),
    (Right, Right.READ | Right.WRITE),
    (Settings, Settings(wait=Wait.SHORT, sizes={Size.SMALL: Colour.RED})),
    (list[Settings] | None, [Settings(wait=Wait.SHORT, sizes={})]),
    (Literal[Colour.RED], Colour.RED),
    (Literal[Colour.RED, "x", None], Colour.RED),
    (Literal[Level.ONE, Word.RED], Word.RED),
    (Literal[b"a"], b"a"),
    (dict[Literal[1, True], str], {1: "a"}),
    (dict[Literal[Colour.RED], int], {Colour.RED: 1}),
    *(
        (dict.__class_getitem__((type(key), int)), {key: 1})
        for key in (*Wait, *Price, *Key, *Size, *Raw)
    ),
    *(
        (dict.__class_getitem__((type(key), int)), {key: 1})
        for key in (Ratio.HALF, Number.ONE, Level.ONE, Word.RED)
    ),
    (dict[date, int], {date(2020, 1, 1): 1}),
    (dict[bool, int], {True: 1}),
    (dict[Decimal, int], {Decimal("1.10"): 1}),
    (AnyShape, Square(name="s", side=3)),
    (list[Circle | Shape], [Circle(name="c", radius=3), Shape(name="s")]),
    (int | float, 1),
    (int | float, 1.0),
    (int | float, 1e16),
    (bool | int, True),
    (bool | int, 1),
    (int | str, "1"),
    (str | date, "2020-01-01"),
    (float, 1e300),
    (float, -0.0),
    (list[float], [-0.0, 0.0, 1e22, -1e16, 123456789012345680.0, 5e-324]),
    (dict[str, Any], {"a": [1, 1.0, True, None, "1", {"b": []}]}),
    (datetime, datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))),
    (datetime, datetime(2020, 1, 1)),  # noqa: DTZ001
    (time, time(12, 30, tzinfo=UTC)),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (Path, Path("a")),
    (PurePosixPath, PurePosixPath("a")),
    (frozenset[Colour], frozenset(Colour)),
    (deque[int], deque([1, 2])),
    (defaultdict[str, list[int]], defaultdict(list, a=[1])),
    (OrderedDict[str, int], OrderedDict(a=1, b=2, aa=3)),
    (Sequence[int], [1, 2]),
    (Mapping[str, int], {"a": 1}),
    (Pair, Pair(1)),
    (tuple[int, ...], (1, 2)),
    (complex, 1 + 2j),
]


@pytest.mark.parametrize(("annotation", "value"), ARRIVES)
def test_what_was_given_is_what_arrives(annotation: Any, value: Any) -> None:
    codec = Codec[Any](annotation)
    arrived = codec.load(from_jsonb(codec.dump(value)))
    assert (arrived, type(arrived)) == (value, type(value))
    if not isinstance(value, datetime | time | defaultdict | set | frozenset):
        assert repr(arrived) == repr(value)  # with all types and signs inside


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_with_a_zone_arrives_as_the_same_instant_also_when_the_clock_is_put_back(
    fold: int,
) -> None:
    codec = Codec[datetime](datetime)
    given = datetime(2024, 10, 27, 2, 30, tzinfo=VIENNA, fold=fold)
    arrived = codec.load(codec.dump(given))
    assert arrived.isoformat() == given.isoformat()


def test_a_typed_dictionary_has_aliases_as_well() -> None:
    codec = Codec[Any](Typed)
    assert codec.load(codec.dump({"unitPrice": 999})) == {"unit_price": 999}


def test_a_model_is_written_by_alias() -> None:
    assert Codec[Any](Camel).dump(Camel(unitPrice=999)) == {"unitPrice": 999}  # type: ignore[call-arg]

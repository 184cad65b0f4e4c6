"""Whether a value that was read back is the one that was written: by type and by value, deeply."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import count
from math import copysign, isnan
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel

# Types of which == says all, once both values have the same one.
_PLAIN: frozenset[type] = frozenset({str, int, bool, NoneType, bytes, date, timedelta, UUID})

# mypy takes no class for hashable: hence what is ignored below.
# Types whose subclasses pydantic lets through as they are, and that arrive as themselves.
_COERCED: frozenset[type] = frozenset({bytes, datetime, date, time, timedelta, Decimal, UUID})

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two values differ first.

    Attributes:
        place: The steps that lead there: fields, indexes and keys; none if the whole differs.
        given: What was written.
        arrived: What was read back.
    """

    place: tuple[str, ...]
    given: object
    arrived: object


class Comparison:
    """Compares what was written with what was read back.

    Two values are the same if their types are the same and ``==`` says so; of collections,
    dataclasses and models each part is compared like this, whatever ``==`` says of the whole. Floats
    differ by the sign of a zero, and NaN is the same as NaN. Times with a zone are the same at the same
    instant, where ``==`` says no to any two zones in the hour in which a clock is put back.
    Of a subclass of a standard type, such as ``datetime``, the value counts, as pydantic has it for
    ``str`` and ``int``.

    Attributes:
        unsettled: Whether type and ``==`` leave something open: an object whose class has no ``==`` of
            its own, or one that does not answer, or a dictionary in which the order counts.
    """

    def __init__(self) -> None:
        self.unsettled = False

    def difference(self, given: object, arrived: object) -> Difference | None:
        """Find where two values differ first; None if they are the same.

        Raises:
            RecursionError: They are nested too deep to be compared.
        """
        kind: type[Any] = type(given)
        if kind is not type(arrived):
            coerced = type(arrived) in _COERCED and isinstance(given, type(arrived))
            same = coerced and self._is_equal(given, arrived)
        elif kind in _PLAIN:
            same = given == arrived
        elif (compare := _comparing(kind)) is not None:  # type: ignore[arg-type]
            return compare(self, given, arrived)
        else:
            same = self._is_equal(given, arrived)
        return None if same else Difference((), given, arrived)

    def _of_sequences(self, given: Sequence[Any], arrived: Sequence[Any]) -> Difference | None:
        if len(given) != len(arrived) or _bound(given) != _bound(arrived):
            return Difference((), given, arrived)
        if _are_plain(given, arrived) and list(given) == list(arrived):
            return None
        return self._of_parts(zip(count(), given, arrived, strict=False))

    def _of_mappings(self, given: dict[Any, Any], arrived: dict[Any, Any]) -> Difference | None:
        if isinstance(given, OrderedDict):
            self.unsettled = True
            if list(given) != list(arrived):
                return Difference((), given, arrived)
        if _maker(given) != _maker(arrived) or self._of_keys(given, arrived):
            return Difference((), given, arrived)
        if _are_plain(given.values(), arrived.values()) and dict(given) == dict(arrived):
            return None
        return self._of_parts((key, value, arrived[key]) for key, value in given.items())

    def _of_sets(self, given: Set[Any], arrived: Set[Any]) -> Difference | None:
        return Difference((), given, arrived) if self._of_keys(given, arrived) else None

    def _of_models(self, given: BaseModel, arrived: BaseModel) -> Difference | None:
        # Not all that is in __dict__, where a cached property keeps what it has computed.
        names = _fields(type(given))
        values, others = map(given.__dict__.get, names), map(arrived.__dict__.get, names)
        return (
            self._of_parts(zip(names, values, others, strict=True))
            or self.difference(given.__pydantic_extra__, arrived.__pydantic_extra__)
            or self.difference(given.__pydantic_private__, arrived.__pydantic_private__)
        )

    def _of_dataclasses(self, given: object, arrived: object) -> Difference | None:
        kind: type[Any] = type(given)
        return self._of_parts(
            (name, getattr(given, name, _MISSING), getattr(arrived, name, _MISSING))
            for name in _fields(kind)  # type: ignore[arg-type]
        )

    def _of_parts(self, parts: Iterable[tuple[object, object, object]]) -> Difference | None:
        for step, value, other in parts:
            kind = type(value)
            if kind in _PLAIN and kind is type(other) and value == other:
                continue  # as most are, and without a call
            if found := self.difference(value, other):
                return Difference((str(step), *found.place), found.given, found.arrived)
        return None

    def _of_keys(
        self, given: Set[Any] | dict[Any, Any], arrived: Set[Any] | dict[Any, Any]
    ) -> Difference | None:
        if len(given) != len(arrived):
            return Difference((), given, arrived)
        # Equal ones may have another type, as 1, True and 1.0.
        others = {key: key for key in arrived}
        if _are_plain(given, arrived) and others.keys() == set(given):
            return None
        for key in given:
            if found := self.difference(key, others.get(key, _MISSING)):
                return found
        return None

    def _is_equal(self, given: Any, arrived: Any) -> bool:
        match given:
            case float():
                return bool(given == arrived and copysign(1, given) == copysign(1, arrived)) or (
                    isnan(given) and isnan(arrived)
                )
            case datetime() if given.tzinfo and getattr(arrived, "tzinfo", None):
                return bool(given - arrived == timedelta(0))
            case time():
                # A time of day has no offset in a zone that changes its clock, and loses that zone.
                return bool(given == arrived and (not given.tzinfo) == (not arrived.tzinfo))
            case Enum():
                return bool(given == arrived)
        if _has_equality(type(given)):
            try:
                answer = given == arrived
                if answer is True or (answer is False and given == given):  # noqa: PLR0124 - not NaN
                    return bool(answer)
            except Exception:  # noqa: S110 - a user's ==, which is then no answer
                pass
        self.unsettled = True
        return True


def _has_equality(kind: type) -> bool:
    return getattr(kind, "__eq__", None) is not object.__eq__


@lru_cache(maxsize=1000)
def _comparing(kind: type[Any]) -> Callable[[Comparison, Any, Any], Difference | None] | None:
    """How the parts of a type's values are compared; None if they have none."""
    if issubclass(kind, list | tuple | deque):
        return Comparison._of_sequences
    if issubclass(kind, dict):
        return Comparison._of_mappings
    if issubclass(kind, set | frozenset):
        return Comparison._of_sets
    if issubclass(kind, BaseModel):
        return Comparison._of_models
    return Comparison._of_dataclasses if is_dataclass(kind) else None


@lru_cache(maxsize=1000)
def _fields(kind: type[Any]) -> tuple[str, ...]:
    if issubclass(kind, BaseModel):
        return tuple(kind.model_fields)
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


def _are_plain(given: Collection[object], arrived: Iterable[object]) -> bool:
    """Whether all of them have one type, the same, of which ``==`` says all: most lists are."""
    kinds = set(map(type, given))
    if len(kinds) != 1 or kinds != set(map(type, arrived)):
        return False
    return kinds <= _PLAIN or (kinds == {float} and 0.0 not in given)


def _bound(value: Sequence[Any]) -> int | None:
    return value.maxlen if isinstance(value, deque) else None


def _maker(value: dict[Any, Any]) -> object:
    return value.default_factory if isinstance(value, defaultdict) else None

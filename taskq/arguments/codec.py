"""One annotated type on its way into JSON and back."""

import json
import re
from collections.abc import Callable, Sequence
from types import GeneratorType, NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import CoreSchema

from taskq.arguments.comparison import Comparison, Difference
from taskq.arguments.jsonb import (
    LARGE_FLOAT,
    changes_numbers,
    from_jsonb,
    is_negative_zero,
    spell_floats,
)
from taskq.arguments.stored_schema import validator_of_stored
from taskq.messages import short_repr, shortened, shown_place, validation_summary

T = TypeVar("T")

A = TypeVar("A")

# \u0000 after an even number of backslashes: the escape itself, not a text that shows one.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# json.dumps makes an encoder for each call that is not plain; this one is made once.
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode

# Whether models are written by alias, and how floats are: the first that comes back is taken. By name
# if an alias is for reading or for writing alone.
_WAYS: list[tuple[bool, Callable[[list[JsonValue]], list[JsonValue]]]] = [
    (True, list),
    (True, spell_floats),
    (False, list),
    (False, spell_floats),
]

# What JSON carries as it is, and pydantic gives back as it was.
_SCALARS: frozenset[type] = frozenset({str, int, float, bool, NoneType})

# pydantic reads no number of more than 4,300 digits, and few have as many.
_COMMON_INTEGERS = range(-(2**63), 2**63)


class Unserializable(Exception):  # noqa: N818 - never leaves taskq: it becomes part of a public exception
    """A value does not fit its type or JSON cannot carry it; says why, for a longer message."""


class _Altered(Exception):  # noqa: N818 - never leaves this module
    """A value would arrive as another one; says how."""


class Codec(Generic[T]):
    """Takes values of one type to JSON and back, through pydantic.

    Args:
        annotation: The type, as a signature annotates it.

    Raises:
        Unserializable: pydantic has no way to carry this type, or carries it one way only.
    """

    def __init__(self, annotation: Any) -> None:
        self._scalars = _scalars(annotation)
        try:
            # By itself pydantic writes NaN as null wherever it does not know that it is a float,
            # and takes no configuration beside a model's own: hence a list of one.
            self._adapter = cast(
                "TypeAdapter[list[T]]",
                TypeAdapter(list[annotation], config=ConfigDict(ser_json_inf_nan="constants")),
            )
            self._stored = validator_of_stored(self._adapter.core_schema)
        except (PydanticUserError, NameError, ValueError) as error:
            raise Unserializable(str(error).splitlines()[0]) from error
        if self._is_secret():
            raise Unserializable(
                "a secret is masked by pydantic when it is written, and cannot come back"
            )

    def dump(self, value: T) -> JsonValue:
        """Check a value and turn it into what is stored.

        What is written is read back, as PostgreSQL will give it, and compared with the value: what
        would arrive as something else is refused.

        Args:
            value: What the caller gave.

        Returns:
            A value that ``json.dumps`` takes and PostgreSQL's ``jsonb`` can hold.

        Raises:
            Unserializable: It does not fit the type, would arrive as something else, or holds NaN, an
                infinity, a NUL character, a lone surrogate or an object that pydantic cannot write.
        """
        if self._is_plain(value):
            return cast("JsonValue", value)
        checked = self._validate(value, self._adapter.validate_python, [value])
        if isinstance(checked[0], GeneratorType):
            raise Unserializable(
                f"{short_repr(value)}: can be read only once, and may have no end: pass a list"
            )
        try:
            return self._written(checked)
        except _Altered as altered:
            raise Unserializable(f"{short_repr(value)}: {altered}") from None
        except UnicodeEncodeError as error:
            raise Unserializable(
                f"{short_repr(value)}: holds a lone surrogate, not valid text"
            ) from error
        except ValidationError as error:
            raise Unserializable(
                f"{short_repr(value)}: would not come back: {validation_summary(error, skip=1)}"
            ) from error
        except (ValueError, TypeError, RecursionError) as error:
            reason = shortened(" ".join(str(error).split()))
            raise Unserializable(f"{short_repr(value)}: JSON cannot carry it: {reason}") from error
        except Exception as error:  # of a user's validator, which takes no JSON, or serializer
            raise Unserializable(
                f"{short_repr(value)}: {type(error).__name__} when it is written and read back: "
                f"{short_repr(str(error))}"
            ) from error

    def load(self, stored: JsonValue) -> T:
        """Turn what was stored into a value of the annotated type.

        Args:
            stored: What ``dump`` returned, or another client wrote.

        Raises:
            Unserializable: It does not fit the type, any more or at all.
        """
        if self._is_plain(stored):
            return cast("T", stored)
        try:
            text = _encode([stored])
        except ValueError as error:  # a number with a fraction that is too large for a float
            raise Unserializable(f"{short_repr(stored)}: is no JSON: {error}") from error
        return self._validate(stored, self._read, text)[0]

    def _written(self, checked: list[T]) -> JsonValue:
        """The first way of writing a value that brings it back as it was."""
        faults: list[Exception] = []
        for by_alias, write_floats in _WAYS:
            stored = write_floats(self._write(checked, by_alias=by_alias))
            try:
                self._check(checked, stored, by_alias=by_alias)
            except (_Altered, ValidationError) as error:
                faults.append(error)
            else:
                return stored[0]
        raise faults[0]

    def _write(self, value: list[T], *, by_alias: bool) -> list[JsonValue]:
        # A model that was built past its own validation is only warned about otherwise.
        stored: list[JsonValue] = self._adapter.dump_python(
            value, mode="json", by_alias=by_alias, round_trip=True, warnings="error"
        )
        return stored

    def _read(self, text: str | bytes) -> list[T]:
        # What was written by name, as its alias is for one direction only, is read by name.
        if self._stored is None:
            return self._adapter.validate_json(text, by_alias=True, by_name=True)
        read: list[T] = self._stored.validate_json(text, by_alias=True, by_name=True)
        return read

    def _check(self, checked: list[T], stored: list[JsonValue], *, by_alias: bool) -> None:
        text = _encode(stored)
        encoded = text.encode()
        if "\\u0000" in text and _NUL.search(text):
            raise _Altered("holds a NUL character, which PostgreSQL cannot store")
        if changes_numbers(text):
            encoded = _encode(from_jsonb(stored)).encode()
        comparison = Comparison()
        difference = comparison.difference(checked, self._read(encoded))
        if difference is None and comparison.unsettled:
            # Objects without == are the same if they are written alike; and order may count.
            arrived = self._read(_encode(from_jsonb(stored)))
            difference = Comparison().difference(checked, arrived) or Comparison().difference(
                stored, self._write(arrived, by_alias=by_alias)
            )
        if difference is not None:
            raise _Altered(_described(difference))

    def _is_plain(self, value: object) -> bool:
        # Most arguments are, and pydantic's two ways take ten times as long to say the same of them.
        kind = type(value)
        if kind not in self._scalars:
            return False
        match value:
            case str():
                return "\0" not in value and (value.isascii() or _is_text(value))
            case bool():
                return True
            case int():
                return value in _COMMON_INTEGERS
            case float():
                # Others are no numbers of JSON, or change in jsonb.
                return abs(value) < LARGE_FLOAT and not is_negative_zero(value)
        return True

    def _validate(self, value: object, validate: Callable[[A], list[T]], given: A) -> list[T]:
        try:
            return validate(given)
        except ValidationError as error:
            # The first step is the index in our list of one.
            raise Unserializable(
                f"{short_repr(value)}: {validation_summary(error, skip=1)}"
            ) from error

    def _is_secret(self) -> bool:
        # JSON Schema's word for what is accepted and never shown again.
        try:
            schema = self._adapter.json_schema(schema_generator=_Lenient)
        except (PydanticUserError, TypeError, ValueError):
            return False  # what cannot be seen here is seen when it is passed
        return '"writeOnly": true' in json.dumps(schema, default=repr)


class _Lenient(GenerateJsonSchema):
    """Describes all that can be described."""

    def handle_invalid_for_json_schema(
        self, schema: CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        return {}

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None: ...


def json_schemas(codecs: Sequence[Codec[Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The JSON Schemas of some types: one each, and what they share, for the schema around them.

    A type that none describes has the one of anything.
    """
    adapters = {index: codec._adapter for index, codec in enumerate(codecs) if _is_described(codec)}
    of_lists, shared = TypeAdapter.json_schemas(
        [(index, "validation", adapter) for index, adapter in adapters.items()]
    )
    schemas = [
        of_lists[index, "validation"]["items"] if index in adapters else {}
        for index in range(len(codecs))
    ]
    return schemas, shared


def _is_described(codec: Codec[Any]) -> bool:
    try:
        json.dumps(codec._adapter.json_schema())
    except (PydanticUserError, TypeError, ValueError):
        return False
    return True


def _scalars(annotation: Any) -> frozenset[type]:
    """The types of the values that an annotation lets through as they are.

    None of them if other types would do as well: text may be a date then.
    """
    if annotation is Any:
        return _SCALARS
    given = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else [annotation]
    kinds = [NoneType if kind is None else kind for kind in given]
    scalars: list[type] = [kind for kind in kinds if isinstance(kind, type) and kind in _SCALARS]
    return frozenset(scalars) if len(scalars) == len(kinds) else frozenset()


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _described(difference: Difference) -> str:
    # The first step is the index in our list of one.
    place = shown_place(difference.place[1:])
    given, arrived = type(difference.given).__name__, type(difference.arrived).__name__
    where = f"at {place}: {short_repr(difference.given)} " if place else ""
    kinds, advice = (
        ("", "look at what validates, writes or leaves it out there")
        if given == arrived
        else (f" ({arrived} instead of {given})", "annotate its own type, or give it as it arrives")
    )
    return f"{where}would arrive as {short_repr(difference.arrived)}{kinds}; {advice}"


# Of values by name that JSON carries as they are.
JSON_OBJECT = Codec[dict[str, Any]](dict[str, Any])

"""How pydantic reads what was stored: as a type says, except where that could not bring it back.

What differs from the type's own way, inside of models too:

- A member of an enum and a literal is found by what was written for it. pydantic compares what it
  reads with the member's value itself, and JSON has no ``timedelta``, ``Decimal``, ``UUID``, tuple or
  bytes, nor keys that are no text.
- That a time lies in the past or the future is checked when it is passed, and not when it is read:
  a job that has waited would fail for it.
"""

import json
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator, to_jsonable_python
from pydantic_core.core_schema import no_info_wrap_validator_function

_Schema = dict[str, Any]

# Where schemas are, in one.
_INNER = (
    "schema",
    "items_schema",
    "keys_schema",
    "values_schema",
    "extras_schema",
    "extras_keys_schema",
    "lax_schema",
    "strict_schema",
    "json_schema",
    "python_schema",
    "var_args_schema",
    "var_kwargs_schema",
    "choices",
    "fields",
    "steps",
    "arguments_schema",
    "definitions",
)


def validator_of_stored(schema: CoreSchema) -> SchemaValidator | None:
    """The validator that reads what was stored, where it has to differ from the type's own.

    Args:
        schema: The type's core schema.

    Raises:
        ValueError: No value of the type comes back from JSON.
    """
    adapted = _adapted(cast("_Schema", schema), as_key=False)
    if adapted is schema:
        return None
    # Else each model inside would be read by the validator that it already has.
    return SchemaValidator(cast("CoreSchema", adapted), _use_prebuilt=False)


def _adapted(schema: _Schema, *, as_key: bool) -> _Schema:
    changed: _Schema = {}
    for name in _INNER:
        if name in schema:
            inner = _adapted_inner(schema[name], as_key=as_key or name == "keys_schema")
            if inner is not schema[name]:
                changed[name] = inner
    if changed:
        schema = schema | changed
    match schema["type"]:
        case "enum":
            return _found(schema, schema["members"], as_key=as_key)
        case "literal":
            return _found(schema, schema["expected"], as_key=as_key)
        case "date" | "datetime" if "now_op" in schema:
            return {name: value for name, value in schema.items() if name != "now_op"}
        case "generator":
            raise ValueError(
                "an iterable or a generator can be read only once: annotate a list or a Sequence"
            )
    return schema


def _adapted_inner(inner: Any, *, as_key: bool) -> Any:
    match inner:
        case {"type": str()}:
            return _adapted(inner, as_key=as_key)
        case dict():  # by field, or by what a discriminator says
            by_name = {name: _adapted_inner(each, as_key=as_key) for name, each in inner.items()}
            changed = any(by_name[name] is not each for name, each in inner.items())
            return by_name if changed else inner
        case list() | tuple():  # the choices of a union may have labels
            each_one = type(inner)(_adapted_inner(each, as_key=as_key) for each in inner)
            changed = any(new is not old for new, old in zip(each_one, inner, strict=True))
            return each_one if changed else inner
    return inner


def _found(schema: _Schema, values: Sequence[object], *, as_key: bool) -> _Schema:
    """The schema of values that are told apart by what is written for them."""
    plain = [
        value.value if isinstance(value, Enum) and schema["type"] == "enum" else value
        for value in values
    ]
    if all(isinstance(value, str) or (_is_json(value) and not as_key) for value in plain):
        return schema
    written = _by_what_is_written(values)
    if not written:
        raise ValueError(f"JSON can carry none of {', '.join(map(repr, values))}")

    def find(stored: object, handler: Callable[[object], object]) -> object:
        try:
            return handler(stored)
        except ValidationError:
            text = _text(stored)
            if text not in written:
                raise
            return written[text]

    # What refers to the schema is to find this one.
    inner = {name: value for name, value in schema.items() if name != "ref"}
    return cast(
        "_Schema",
        no_info_wrap_validator_function(find, cast("CoreSchema", inner), ref=schema.get("ref")),
    )


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _by_what_is_written(values: Sequence[object]) -> dict[str, object]:
    """Values by the JSON that is written for them, as such and as a key."""
    written: dict[str, object] = {}
    for value in values:
        try:
            written.setdefault(_text(to_jsonable_python(value)), value)
            [key] = to_jsonable_python({value: None})
            written.setdefault(_text(key), value)
        except (ValueError, TypeError):  # it cannot be written, and is refused when it is passed
            continue
    return written


def _text(stored: object) -> str:
    return json.dumps(stored, sort_keys=True)

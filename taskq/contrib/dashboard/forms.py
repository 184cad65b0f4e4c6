"""What is typed into forms: a task's arguments, by fields made from their JSON Schema; times and numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from taskq.exceptions import InvalidArguments, InvalidJob
from taskq.messages import short_repr
from taskq.times import duration_of, time_of

# A prefix, as an argument may be called like another field of the page.
_PREFIX = "arg:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The field of an argument.

    Attributes:
        name: The argument.
        kind: What is typed: ``text``, ``number``, ``choice`` or ``json``.
        is_required: Whether it has no default.
        hint: What may be typed, for people.
        choices: Of what is to be chosen, as JSON; only for a choice.
        value: What is in it, as it is typed.
    """

    name: str
    kind: str
    is_required: bool
    hint: str
    choices: Sequence[str] = ()
    value: str = ""

    @property
    def field_name(self) -> str:
        """What the field is called in the form."""
        return f"{_PREFIX}{self.name}"


def fields_of(schema: Mapping[str, Any], given: Mapping[str, Any]) -> list[Field]:
    """The fields for the arguments that a schema describes.

    Args:
        schema: The JSON Schema of the arguments: an object.
        given: Values that are in the fields already.
    """
    required = set(schema.get("required", ()))
    return [
        _field(name, part, schema, is_required=name in required, given=given)
        for name, part in schema.get("properties", {}).items()
    ]


def read_fields(fields: Sequence[Field], form: Mapping[str, str]) -> dict[str, Any]:
    """The arguments that were typed. A field that is empty is an argument that is not given.

    Raises:
        InvalidArguments: Something that has to be JSON is none.
    """
    arguments: dict[str, Any] = {}
    for field in fields:
        typed = form.get(field.field_name, "")
        if typed == "" and not (field.kind == "text" and field.is_required):
            continue
        arguments[field.name] = (
            typed if field.kind == "text" else read_json(typed, what=f"the argument {field.name!r}")
        )
    return arguments


def filled(fields: Sequence[Field], form: Mapping[str, str]) -> list[Field]:
    """The same fields with what was typed into them."""
    return [replace(field, value=form.get(field.field_name, "")) for field in fields]


def read_object(text: str, *, what: str) -> dict[str, Any]:
    """A JSON object that was typed.

    Raises:
        InvalidArguments: It is none.
    """
    value = read_json(text, what=what)
    if not isinstance(value, dict):
        raise InvalidArguments(
            f"""{what} has to be a JSON object, with values by name, as in {{"user_id": 1}}"""
        )
    return value


def read_json(text: str, *, what: str) -> Any:
    """JSON that was typed.

    Raises:
        InvalidArguments: It is none.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"{what} is not JSON: {error}") from None


def when_of(text: str) -> datetime | timedelta:
    """When, as it was typed: a time, or in how long.

    Raises:
        InvalidJob: It is neither.
    """
    try:
        return duration_of(text)
    except ValueError:
        pass
    try:
        return time_of(text)
    except ValueError as error:
        raise InvalidJob(f"{error}; or in how long, as in 5m or 1h30m") from None


def priority_of(text: str) -> int:
    """A priority, as it was typed.

    Raises:
        InvalidJob: It is no number.
    """
    try:
        return int(text)
    except ValueError:
        raise InvalidJob(f"the priority {short_repr(text)} is no number") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def _field(
    name: str,
    part: Any,
    schema: Mapping[str, Any],
    *,
    is_required: bool,
    given: Mapping[str, Any],
) -> Field:
    kind, hint, choices = _kind(_resolved(part, schema), schema)
    value = ""
    if name in given:
        value = given[name] if kind == "text" else json.dumps(given[name], ensure_ascii=False)
        if not isinstance(value, str):
            # Of another type than the text that the schema has: it is to be seen as it is.
            kind, value = "json", json.dumps(value, ensure_ascii=False)
    if kind == "choice" and is_required and not value:
        value = choices[0]
    return Field(
        name=name, kind=kind, is_required=is_required, hint=hint, choices=choices, value=value
    )


def _kind(part: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[str, str, Sequence[str]]:
    """What is typed for a part of the schema, what to say of it, and what may be chosen."""
    if "enum" in part or "const" in part:
        values = part.get("enum", [part.get("const")])
        return "choice", "", [json.dumps(value, ensure_ascii=False) for value in values]
    match part.get("type"):
        case "string":
            return "text", str(part.get("format", "text")), ()
        case "integer":
            return "number", _bounds("a whole number", part), ()
        case "number":
            return "number", _bounds("a number", part), ()
        case "boolean":
            return "choice", "", ["true", "false"]
        case "array":
            return "json", "a list, as JSON", ()
        case "object":
            return "json", "an object, as JSON", ()
    # Of a type that may also be none, the field of that type: left empty, it is not given.
    others = [
        resolved
        for each in part.get("anyOf", ())
        if (resolved := _resolved(each, schema)).get("type") != "null"
    ]
    if len(others) == 1 and len(part["anyOf"]) == 2:
        kind, hint, choices = _kind(others[0], schema)
        if kind == "choice":
            return kind, hint, [*choices, "null"]
        # Text has no way to say null.
        return ("json", f"{hint} as JSON, or null", ()) if kind == "text" else (kind, hint, choices)
    return "json", "as JSON: text in quotes", ()


def _resolved(part: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema, which may be named elsewhere in it."""
    for _ in range(10):
        if not isinstance(part, Mapping):
            return {}
        if "$ref" not in part:
            return part
        found: Any = schema
        for step in str(part["$ref"]).removeprefix("#/").split("/"):
            found = found.get(step, {}) if isinstance(found, Mapping) else {}
        part = found
    return {}


def _bounds(hint: str, part: Mapping[str, Any]) -> str:
    lowest, highest = part.get("minimum"), part.get("maximum")
    if lowest is not None and highest is not None:
        return f"{hint}, {lowest} to {highest}"
    if lowest is not None:
        return f"{hint}, {lowest} or more"
    return f"{hint}, {highest} at most" if highest is not None else hint

"""What PostgreSQL's ``jsonb`` makes of JSON: the order of keys, and two kinds of numbers, change."""

from decimal import Decimal
from math import copysign

from pydantic import JsonValue

# From here on floats are written with an exponent. jsonb, whose numbers are numeric, gives such a one
# back with all its digits and without a point: as an integer.
LARGE_FLOAT = 1e16


def changes_numbers(text: str) -> bool:
    """Whether JSON may hold a number that jsonb changes: a large float, or a negative zero."""
    return "e+" in text or "-0.0" in text


def is_negative_zero(value: float) -> bool:
    """Whether a number is the zero that numeric does not have."""
    return value == 0 and copysign(1, value) < 0


def from_jsonb(value: JsonValue) -> JsonValue:
    """JSON as jsonb gives it back: shorter keys first, large floats as integers, zeros positive."""
    match value:
        case dict():
            names = sorted(value, key=lambda name: (len(encoded := name.encode()), encoded))
            return {name: from_jsonb(value[name]) for name in names}
        case list():
            return [from_jsonb(each) for each in value]
        case float() if abs(value) >= LARGE_FLOAT:
            return int(Decimal(repr(value)))
        case float() if value == 0:
            return 0.0
    return value


def spell_floats(value: list[JsonValue]) -> list[JsonValue]:
    """JSON with each number that jsonb would change as text, which a ``float`` is read from as well."""
    return [_spelt(each) for each in value]


def _spelt(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {name: _spelt(each) for name, each in value.items()}
        case list():
            return [_spelt(each) for each in value]
        case float() if abs(value) >= LARGE_FLOAT or is_negative_zero(value):
            return repr(value)
    return value

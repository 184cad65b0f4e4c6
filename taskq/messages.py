"""Values and faults as error messages say them."""

from pydantic import ValidationError

_SHOWN_LENGTH = 100


_SHOWN_FAULTS = 3


def short_repr(value: object) -> str:
    """A value as an error message can show it: escaped, short, and whatever its repr does."""
    try:
        text = repr(value)
    except BaseException as error:  # somebody else's __repr__ must not hide what was wrong
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return shortened(text)


def shortened(text: str) -> str:
    """A text as an error message can hold it."""
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def validation_summary(error: ValidationError, *, skip: int) -> str:
    """What pydantic found wrong, in a line; of each place the first ``skip`` steps are ours."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"at {'.'.join(map(str, place))}: {fault['msg']}" if place else fault["msg"]
        for fault in faults[:_SHOWN_FAULTS]
        for place in [fault["loc"][skip:]]
    ]
    if more := faults[_SHOWN_FAULTS:]:
        lines.append(f"and {len(more)} more")
    return "; ".join(lines)

"""Lengths of time, as people read them and as options take them."""

from itertools import pairwise

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))  # seconds


def brief(seconds: float) -> str:
    """A length of time in its largest unit and the one below: 90 seconds are ``1m30s``."""
    rest = max(0, round(seconds))
    for (size, unit), (below, unit_below) in pairwise(_UNITS):
        if rest >= size:
            count, rest = divmod(rest, size)
            return (
                f"{count}{unit}{rest // below}{unit_below}" if rest >= below else f"{count}{unit}"
            )
    return f"{rest}s"

"""Cron expressions: the moments at which one comes true, by the clock of a time zone."""

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from itertools import takewhile
from math import floor

from cronsim import CronSim

# What a crontab knows by name.
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_SECOND = timedelta(seconds=1)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the clock on the wall, in whichever zone

# The time zone database has no two changes of one zone within four days.
_DAY = 86400

# No clock was ever put back by more than a day.
_LONGEST_CHANGE = 25 * 3600

# What has not come true by then never does: February 29th is a Monday within 40 years.
_HORIZON = 50 * 366 * _DAY


class Cron:
    """A cron expression in a time zone.

    CronSim finds the times that match on a calendar without a zone; where they lie in real time is
    found here, by the zone's offset from UTC, which may change by any number of minutes:

    - An expression with ``*`` for the minute or the hour, or with seconds, ticks whenever the clock on
      the wall matches: not at a time that is left out, and twice at one that comes twice.
    - Any other names fixed times, and ticks once for each of them: at the moment of the change for a
      time that is left out, and the first time for one that comes twice.

    Args:
        expression: Five fields, or six with the seconds at the end, or one of ``NAMED``.
        timezone: The zone.

    Raises:
        CronSimError: It is no expression.
        AttributeError: It is no text.
        TypeError: It cannot even be a key.
    """

    def __init__(self, expression: str, timezone: tzinfo) -> None:
        fields = NAMED.get(expression, expression).split()
        # As in Debian's cron. Six fields it does not know.
        self._fixed = len(fields) == 5 and not any(field.startswith("*") for field in fields[:2])
        if len(fields) == 6:
            # For cronsim seconds are in front; for Procrastinate's users they are at the end.
            fields = [fields[-1], *fields[:-1]]
        self._fields = " ".join(fields)
        self._timezone = timezone
        CronSim(self._fields, _EPOCH)  # refuses now what is no expression

    def next_after(self, time: float) -> int:
        """The first tick after a time, both in seconds since 1970.

        Raises:
            StopIteration: There is none within fifty years.
        """
        return next(self._ticks(floor(time)))

    def between(self, after: float, until: float) -> list[int]:
        """The ticks after a time and up to another, all in seconds since 1970."""
        return list(takewhile(lambda tick: tick <= until, self._ticks(floor(after))))

    def _ticks(self, after: int) -> Iterator[int]:
        offset = self._offset(after)
        wall = after + offset + 1
        if self._fixed:
            wall = max(wall, self._reached(after))
        since = seen = last = after
        while True:
            for match in self._matches(wall):
                # A fixed time that the change left out comes at the change.
                tick = max(match - offset, since)
                if tick - after > _HORIZON:
                    return
                if (change := self._change(seen, tick, offset)) is not None:
                    break
                seen = tick
                if tick > last:
                    last = tick
                    yield tick
            else:
                return
            # Fixed times go on from where the clock on the wall was, the others from where it is.
            before, offset = offset, self._offset(change)
            wall = change + (before if self._fixed else offset)
            since = seen = change

    def _reached(self, after: int) -> int:
        """How far the clock on the wall had ever come, shortly before some time."""
        reached = seen = after - _LONGEST_CHANGE
        offset = self._offset(seen)
        while (change := self._change(seen, after, offset)) is not None:
            reached = max(reached, change + offset)
            seen, offset = change, self._offset(change)
        return reached

    def _change(self, seen: int, until: int, offset: int) -> int | None:
        """The first moment after one and up to another at which the offset is not this one."""
        while seen < until:
            step = min(seen + _DAY, until)
            if self._offset(step) != offset:
                while step - seen > 1:
                    middle = (seen + step) // 2
                    if self._offset(middle) == offset:
                        seen = middle
                    else:
                        step = middle
                return step
            seen = step
        return None

    def _offset(self, time: int) -> int:
        offset = datetime.fromtimestamp(time, self._timezone).utcoffset()
        return 0 if offset is None else offset // _SECOND

    def _matches(self, wall: int) -> Iterator[int]:
        """The times that match, from one on, in seconds as the clock on the wall counts them."""
        for match in CronSim(self._fields, _EPOCH + (wall - 1) * _SECOND):
            yield (match - _EPOCH) // _SECOND

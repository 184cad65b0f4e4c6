"""The limiting part of the job manager: what operators say of limits, and how full they are."""

from datetime import timedelta
from typing import Final

from taskq import queries
from taskq.database.sync_async import async_method
from taskq.exceptions import InvalidLimit, InvalidOption, UnknownLimit
from taskq.job import check_name
from taskq.limits import (
    KnownLimits,
    LimitFigures,
    LimitState,
    check_figures,
    check_limit_name,
    joined_key,
    seconds_of,
)
from taskq.manager.bounds import check_count
from taskq.manager.operations import JobOperations
from taskq.messages import short_repr

_MOST = 10_000


class Limiting(JobOperations):
    """What may be asked of limits.

    Attributes:
        limits: Those that the app knows, which its workers declare.
    """

    limits: KnownLimits

    def set_limit(
        self,
        name: str,
        *,
        key: str | None = None,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | float | None = None,
        burst: int | None = None,
        by: str | None = None,
    ) -> None:
        """Say what a limit allows from now on, for all workers: it goes before what apps declare.

        What is not given stays as it is. More room is used at once; with less, what runs ends as it would
        have.

        Args:
            name: The limit.
            key: One key of it; None: all that nothing else is said of.
            concurrency: How many jobs may run at once.
            rate: How many may start within ``per``.
            per: A ``timedelta``, or seconds.
            burst: How many of these may start at once; 1 if a rate is given and nothing is said.
            by: Who says so, for others to read.

        Raises:
            UnknownLimit: No app has declared a limit of that name.
            InvalidLimit: A figure makes no sense, or none is given.
        """
        limit_key = _limit_key(name, key)
        check_figures(name, concurrency, rate, per, burst)
        if concurrency is None and rate is None:
            raise InvalidLimit(
                f"limit {name!r} cannot be set to nothing: give concurrency=, or rate= and per="
            )
        if by is not None:
            check_name(by, what=f"limit {name!r} cannot be set with by")
        figures = LimitFigures(
            concurrency, rate, seconds_of(per), None if rate is None else burst or 1
        )
        done = self._run(
            queries.limits.set_limit,
            limit_key,
            figures,
            declared_by=by,
            is_known=name in self.limits,
        )
        if not done:
            known = ", ".join(map(repr, self._run(queries.limits.list_limit_names)))
            raise UnknownLimit(
                f"there is no limit {short_repr(name)} that could be set: "
                + (f"there are {known}" if known else "no app has declared any")
                + "; a worker declares those of its app when it starts"
            )
        self._run(queries.limits.open_limits, [name])

    set_limit_async: Final = async_method(set_limit)

    def unset_limit(self, name: str, *, key: str | None = None) -> bool:
        """Take back what was said with ``set_limit``: what apps declare holds again.

        Args:
            name: The limit.
            key: As it was said; None: without a key.

        Returns:
            False if nothing was said.

        Raises:
            InvalidLimit: No limit can have that name, or that key.
        """
        done = self._run(queries.limits.unset_limit, _limit_key(name, key))
        self._run(queries.limits.open_limits, [name])
        return done

    unset_limit_async: Final = async_method(unset_limit)

    def unset_queue_limit(self, queue: str) -> bool:
        """Have the jobs of a queue count in no limit but their own, until an app declares it again.

        What is left behind by an app that does not declare it any more goes in this way.

        Args:
            queue: The queue.

        Returns:
            False if they counted in none.

        Raises:
            InvalidName: No queue can have that name.
        """
        check_name(queue, what="no queue is called")
        former = self._run(queries.limits.unset_queue_limit, queue)
        if former is not None:
            self._run(queries.limits.open_limits, [former])
        return former is not None

    unset_queue_limit_async: Final = async_method(unset_queue_limit)

    def list_limits(self, name: str | None = None, *, max_limits: int = 1000) -> list[LimitState]:
        """Read what limits allow and how full they are: of each all that was said, and each key that is in
        use.

        Args:
            name: One limit; None: all.
            max_limits: How many keys at most, from 1 to 10,000; by name and key.

        Raises:
            InvalidLimit: No limit can have that name.
            InvalidOption: ``max_limits`` is none of these.
        """
        if name is not None:
            check_limit_name(name)
        check_count("max_limits", max_limits, _MOST, InvalidOption)
        return self._run(queries.limits.list_limits, name, max_limits)

    list_limits_async: Final = async_method(list_limits)


def _limit_key(name: str, key: str | None) -> str:
    check_limit_name(name)
    return joined_key(name, key)

"""Whether, when and how a job whose attempt failed is run again."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from taskq.exceptions import InvalidRetryStrategy
from taskq.groups import errors_of
from taskq.job import Job, Name, Priority
from taskq.messages import short_repr, validation_summary
from taskq.times import LONGEST_WAIT, TimeDeltaParams, read_moment, read_wait

_LONGEST = LONGEST_WAIT.total_seconds()


class _Changes(BaseModel):
    """What a retry changes about a job, as its columns hold it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True)

    priority: Priority | None
    queue: Name | None
    lock: Name | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """What becomes of a job that is run again.

    Args:
        retry_at: When, with a time zone; at once if neither this nor ``retry_in`` is given.
        retry_in: In how long, by the database's clock: a ``timedelta`` or its keywords.
        priority: Its priority from now on; None: as it was.
        queue: Its queue from now on; None: as it was.
        lock: Its lock from now on; None: as it was.

    Raises:
        InvalidRetryStrategy: Both times are given, or a value that no job can have.
    """

    retry_at: datetime | None = None
    retry_in: timedelta | TimeDeltaParams | None = None
    priority: int | None = None
    queue: str | None = None
    lock: str | None = None

    def __post_init__(self) -> None:
        if self.retry_at is not None and self.retry_in is not None:
            raise InvalidRetryStrategy("a retry takes retry_at or retry_in, not both")
        try:
            if self.retry_at is not None:
                # Frozen for others.
                object.__setattr__(self, "retry_at", read_moment(self.retry_at))
        except ValueError as error:
            raise InvalidRetryStrategy(
                f"a retry got retry_at={short_repr(self.retry_at)}, {error}"
            ) from None
        _ = self.wait  # refuses now what is no time
        try:
            # Or else the worker would meet it, while it writes the ends of other jobs as well.
            _Changes(priority=self.priority, queue=self.queue, lock=self.lock)
        except ValidationError as error:
            option = str(error.errors(include_url=False)[0]["loc"][0])
            raise InvalidRetryStrategy(
                f"a retry got {option}={short_repr(getattr(self, option))}, which no job can have: "
                f"{validation_summary(error, skip=1)}"
            ) from None

    @property
    def wait(self) -> timedelta | None:
        """``retry_in`` as a ``timedelta``."""
        if self.retry_in is None:
            return None
        try:
            return read_wait(self.retry_in)
        except ValueError as error:
            raise InvalidRetryStrategy(
                f"a retry got retry_in={short_repr(self.retry_in)}, {error}"
            ) from None


class BaseRetryStrategy(ABC):
    """What decides; derive from it for decisions that ``RetryStrategy`` cannot express."""

    @abstractmethod
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Decide about a job whose attempt has just failed.

        Args:
            exception: What the attempt raised.
            job: The job; ``job.attempts`` attempts lie behind it, without the one that failed now.

        Returns:
            What becomes of it; None: it is not run again and ends as failed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStrategy(BaseRetryStrategy):
    """Waits that grow with the attempts: the strategy of Procrastinate, bounded.

    With ``n`` attempts before the one that failed, the wait in seconds is
    ``wait + linear_wait * n + exponential_wait ** (n + 1)`` (the last only if ``exponential_wait`` is
    not 0), at most ``max_wait``, and at most a hundred years whatever ``n`` is.

    Args:
        max_attempts: How many times it is run again at most; None: as often as it takes.
        wait: Seconds.
        linear_wait: Seconds more for each attempt before.
        exponential_wait: The base, in seconds, that is raised to the number of the attempt.
        max_wait: Seconds at most, before ``jitter``; None: no bound.
        jitter: The wait is drawn between ``1 - jitter`` and ``1 + jitter`` of it, so that jobs that
            failed together do not come back together: from 0 to 1.
        retry_exceptions: Only these exceptions (and those derived from them), also in groups; None: all.

    Raises:
        InvalidRetryStrategy: A number makes no sense.
    """

    max_attempts: int | None = None
    wait: float = 0
    linear_wait: float = 0
    exponential_wait: float = 0
    max_wait: float | None = None
    jitter: float = 0
    retry_exceptions: Iterable[type[BaseException]] | None = None

    def __post_init__(self) -> None:
        for name in (
            "max_attempts",
            "wait",
            "linear_wait",
            "exponential_wait",
            "max_wait",
            "jitter",
        ):
            value = getattr(self, name)
            highest = {"max_attempts": inf, "jitter": 1}.get(name, _LONGEST)
            if value is None and name in {"max_attempts", "max_wait"}:
                continue
            # Written so that NaN is refused as well.
            if not (isinstance(value, int | float) and 0 <= value <= highest):
                raise InvalidRetryStrategy(
                    f"{name} must be a number from 0 to {highest:g}, not {short_repr(value)}"
                )
        if self.retry_exceptions is not None:
            given: object = self.retry_exceptions
            exceptions = tuple(self.retry_exceptions) if isinstance(given, Iterable) else (given,)
            for exception in exceptions:
                if not _is_exception_class(exception):
                    raise InvalidRetryStrategy(
                        f"retry_exceptions takes exception classes, not {short_repr(exception)}"
                    )
            # An iterator would be used up by the first attempt.
            object.__setattr__(self, "retry_exceptions", exceptions)

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Decide by the number of attempts and the exception's class."""
        if self.max_attempts is not None and job.attempts >= self.max_attempts:
            return None
        if self.retry_exceptions is not None and not self._covers(exception):
            return None
        return RetryDecision(retry_in=timedelta(seconds=self.seconds(job.attempts)))

    def _covers(self, exception: BaseException) -> bool:
        covered = tuple(self.retry_exceptions or ())
        # Each error of a group must be: one that another attempt will not mend is enough.
        return isinstance(exception, covered) or all(
            isinstance(error, covered) for error in errors_of(exception) or [exception]
        )

    def seconds(self, attempts: int) -> float:
        """How long to wait after so many earlier attempts, in seconds."""
        seconds = self.wait + self.linear_wait * attempts
        if self.exponential_wait:
            try:
                seconds += float(self.exponential_wait) ** (attempts + 1)
            except OverflowError:
                seconds = _LONGEST
        if self.max_wait is not None:
            seconds = min(seconds, self.max_wait)
        if self.jitter:
            # Spreads load; nothing secret depends on it.
            seconds *= random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311
        return min(seconds, _LONGEST)


def _is_exception_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


RetryValue = bool | int | BaseRetryStrategy


def get_retry_strategy(value: RetryValue) -> BaseRetryStrategy | None:
    """The strategy that a task's ``retry`` stands for.

    Args:
        value: False: never; True: always, at once; a number: so many times, at once; a strategy.

    Raises:
        InvalidRetryStrategy: It is none of these.
    """
    if isinstance(value, BaseRetryStrategy):
        return value
    if value is True:
        return RetryStrategy()
    if value is False:
        return None
    if isinstance(value, int):
        return RetryStrategy(max_attempts=value)
    raise InvalidRetryStrategy(
        f"retry={short_repr(value)} is neither a bool, a number nor a RetryStrategy"
    )

"""Whether, when and how a job whose attempt failed is run again."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskq.codec import shown
from taskq.exceptions import InvalidRetryStrategy
from taskq.job import Job

# A hundred years, which PostgreSQL's timestamps hold; beyond it a wait is none that anybody means.
_LONGEST = 100 * 365 * 86400.0


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
        InvalidRetryStrategy: Both times are given, or one that makes no sense.
    """

    retry_at: datetime | None = None
    retry_in: timedelta | Mapping[str, float] | None = None
    priority: int | None = None
    queue: str | None = None
    lock: str | None = None

    def __post_init__(self) -> None:
        if self.retry_at is not None and self.retry_in is not None:
            raise InvalidRetryStrategy("a retry takes retry_at or retry_in, not both")
        if self.retry_at is not None and self.retry_at.tzinfo is None:
            raise InvalidRetryStrategy(
                f"retry_at={self.retry_at} has no time zone: say which, as in "
                "datetime.now(UTC) + timedelta(minutes=5)"
            )
        _ = self.wait  # refuses now what is no time

    @property
    def wait(self) -> timedelta | None:
        """``retry_in`` as a ``timedelta``."""
        if self.retry_in is None or isinstance(self.retry_in, timedelta):
            return self.retry_in
        try:
            return timedelta(**self.retry_in)
        except (TypeError, OverflowError) as error:
            raise InvalidRetryStrategy(
                f"retry_in={shown(self.retry_in)}: {error}; give a timedelta, or its keywords as in "
                "{'minutes': 5}"
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
        max_wait: Seconds at most; None: no bound.
        jitter: The wait is drawn between ``1 - jitter`` and ``1 + jitter`` of it, so that jobs that
            failed together do not come back together: from 0 to 1.
        retry_exceptions: Only these exceptions (and those derived from them); None: all.

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
        for name in ("max_attempts", "wait", "linear_wait", "exponential_wait", "max_wait"):
            value = getattr(self, name)
            # "not ... >=" also catches NaN.
            if value is not None and not value >= 0:
                raise InvalidRetryStrategy(f"{name} must be 0 or more, not {shown(value)}")
        if not 0 <= self.jitter <= 1:
            raise InvalidRetryStrategy(f"jitter must be from 0 to 1, not {shown(self.jitter)}")
        if self.retry_exceptions is not None:
            exceptions = tuple(self.retry_exceptions)
            for exception in exceptions:
                if not _is_exception_class(exception):
                    raise InvalidRetryStrategy(
                        f"retry_exceptions takes exception classes, not {shown(exception)}"
                    )
            # An iterator would be used up by the first attempt.
            object.__setattr__(self, "retry_exceptions", exceptions)

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Decide by the number of attempts and the exception's class."""
        if self.max_attempts is not None and job.attempts >= self.max_attempts:
            return None
        if self.retry_exceptions is not None and not isinstance(
            exception, tuple(self.retry_exceptions)
        ):
            return None
        return RetryDecision(retry_in=timedelta(seconds=self.seconds(job.attempts)))

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


def retry_strategy(value: RetryValue) -> BaseRetryStrategy | None:
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
        f"retry={shown(value)} is neither a bool, a number nor a RetryStrategy"
    )

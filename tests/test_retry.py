"""Retries: the formula, its bounds, and what is no strategy or no decision."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import BaseRetryStrategy, Job, JobStatus, Retry, RetryDecision, RetryStrategy, Snooze
from taskq.exceptions import InvalidRetryStrategy
from taskq.retry import get_retry_strategy

CENTURY = timedelta(days=36_500).total_seconds()
NOW = datetime.now(UTC)


def job(attempt: int, status: JobStatus = JobStatus.DOING) -> Job:
    """A job in the attempt of this number."""
    return Job(
        id=1,
        task_name="shop.send",
        task_kwargs={},
        queue="default",
        priority=0,
        lock=None,
        queueing_lock=None,
        idempotency_key=None,
        limit_key=None,
        status=status,
        scheduled_at=None,
        deferred_at=NOW,
        started_at=NOW,
        finished_at=None,
        attempt=attempt,
        crashes=0,
        given_back=0,
        worker_id=1,
        abort_requested=False,
        result=None,
        metadata=None,
        tags=(),
        claim=attempt,
    )


def decision(
    strategy: BaseRetryStrategy | None, attempt: int = 1, exception: BaseException | None = None
) -> RetryDecision | None:
    assert strategy is not None
    return strategy.get_retry_decision(
        exception=exception or ValueError("no"), job=job(attempt=attempt)
    )


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({}, [0, 0, 0, 0]),
        ({"wait": 5}, [5, 5, 5, 5]),
        ({"linear_wait": 5}, [0, 5, 10, 15]),
        ({"wait": 2, "linear_wait": 5}, [2, 7, 12, 17]),
        ({"exponential_wait": 5}, [5, 25, 125, 625]),
        ({"exponential_wait": 0.5}, [0.5, 0.25, 0.125, 0.0625]),
        ({"wait": 1, "linear_wait": 10, "exponential_wait": 2}, [3, 15, 29, 47]),
        ({"exponential_wait": 5, "max_wait": 100}, [5, 25, 100, 100]),
        ({"wait": 5, "max_wait": 0}, [0, 0, 0, 0]),
    ],
)
def test_the_wait_after_each_attempt_is_the_one_of_the_table(
    options: dict[str, float], waits: list[float]
) -> None:
    strategy = RetryStrategy(**options)  # type: ignore[arg-type]
    assert [decision(strategy, attempt) for attempt in (1, 2, 3, 4)] == [
        RetryDecision(retry_in=timedelta(seconds=wait)) for wait in waits
    ]


@pytest.mark.parametrize(
    ("retry", "retried"),
    [
        (True, [True, True, True, True]),
        (2, [True, True, False, False]),
        (0, [False, False, False, False]),
        (RetryStrategy(), [True, True, True, True]),
        (RetryStrategy(max_attempts=1), [True, False, False, False]),
    ],
)
def test_a_job_is_run_again_as_often_as_is_said(
    retry: bool | int | RetryStrategy, retried: list[bool]
) -> None:
    strategy = get_retry_strategy(retry)
    assert [decision(strategy, attempt) is not None for attempt in (1, 2, 3, 4)] == retried


def test_false_is_no_strategy() -> None:
    assert get_retry_strategy(False) is None


def test_any_strategy_of_ones_own_is_taken_as_it_is() -> None:
    class Never(BaseRetryStrategy):
        def get_retry_decision(self, *, exception: BaseException, job: Job) -> None:
            return None

    never = Never()
    assert get_retry_strategy(never) is never


numbers = st.floats(0, CENTURY) | st.integers(0, int(CENTURY))


@given(
    strategy=st.builds(
        RetryStrategy,
        wait=numbers,
        linear_wait=numbers,
        exponential_wait=numbers,
        max_wait=st.none() | numbers,
        jitter=st.floats(0, 1),
    ),
    attempt=st.integers(1, 2**31 - 1),
)
def test_no_attempt_number_overflows(strategy: RetryStrategy, attempt: int) -> None:
    decided = decision(strategy, attempt)
    assert decided is not None
    assert decided.wait is not None
    assert timedelta(0) <= decided.wait <= timedelta(seconds=CENTURY)
    assert NOW + decided.wait > NOW - timedelta(1)


@given(wait=st.floats(0, 1e6), jitter=st.floats(0, 1))
def test_jitter_stays_within_its_bounds(wait: float, jitter: float) -> None:
    seconds = RetryStrategy(wait=wait, jitter=jitter).seconds(1)
    assert wait * (1 - jitter) - 1e-6 <= seconds <= wait * (1 + jitter) + 1e-6


def test_jitter_spreads_jobs_that_failed_together() -> None:
    strategy = RetryStrategy(wait=60, max_wait=60, jitter=0.5)
    assert len({strategy.seconds(1) for _ in range(20)}) > 1


def test_only_the_exceptions_that_are_named_are_retried_every_time() -> None:
    strategy = RetryStrategy(retry_exceptions=iter([OSError, KeyError]))
    for _ in range(2):
        assert decision(strategy, exception=ConnectionError()) is not None
        assert decision(strategy, exception=KeyError()) is not None
        assert decision(strategy, exception=ValueError()) is None


def test_a_job_counts_the_attempts_before_the_present_one() -> None:
    assert job(attempt=3).attempts == 2
    assert job(attempt=3, status=JobStatus.FAILED).attempts == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": -1}, "max_attempts must be a number from 0 to inf, not -1"),
        ({"wait": -0.1}, "wait must be a number from 0 to .*, not -0.1"),
        ({"wait": None}, "wait must be a number .* not None"),
        ({"wait": "1"}, "wait must be a number .* not '1'"),
        ({"linear_wait": float("inf")}, "linear_wait must be a number .* not inf"),
        ({"exponential_wait": float("nan")}, "exponential_wait must be .* not nan"),
        ({"exponential_wait": 10**400}, "exponential_wait must be .* not 10000"),
        ({"max_wait": -1}, "max_wait must be .* not -1"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1, not 1.1"),
        ({"jitter": float("nan")}, "jitter must be .* not nan"),
        ({"retry_exceptions": ["ValueError"]}, "takes exception classes, not 'ValueError'"),
        ({"retry_exceptions": [ValueError()]}, r"takes exception classes, not ValueError\(\)"),
        ({"retry_exceptions": 5}, "takes exception classes, not 5"),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRetryStrategy, match=message):
        RetryStrategy(**options)


@pytest.mark.parametrize("value", ["often", None, 1.5, RetryStrategy])
def test_what_is_no_strategy_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRetryStrategy, match="neither a bool, a number nor a RetryStrategy"):
        get_retry_strategy(value)


FAR = timezone(timedelta(hours=14))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryDecision(retry_at=NOW, retry_in=timedelta(1)), "retry_at or retry_in"),
        (lambda: RetryDecision(retry_at=datetime(2030, 1, 1)), "no time zone"),  # noqa: DTZ001
        (lambda: RetryDecision(retry_at="tomorrow"), "'tomorrow', which is no datetime"),  # type: ignore[arg-type]
        (lambda: RetryDecision(retry_at=datetime.min.replace(tzinfo=FAR)), "years 2 to 9998"),
        (lambda: RetryDecision(retry_in={"fortnights": 1}), "'fortnights': 1}, which is no wait"),  # type: ignore[arg-type]
        (lambda: RetryDecision(retry_in={"days": float("nan")}), "nan}, which is no wait"),
        (lambda: RetryDecision(retry_in=timedelta.max), "more than a hundred years"),
        (lambda: RetryDecision(retry_in=5), "retry_in=5, which is no wait"),  # type: ignore[arg-type]
        (lambda: RetryDecision(priority=2**31), "priority=2147483648, which no job can have"),
        (lambda: RetryDecision(queue=""), "queue='', which no job can have"),
        (lambda: RetryDecision(queue="x" * 501), "queue='xxx"),
        (lambda: RetryDecision(lock="a\0b"), r"lock='a\\x00b', which no job can have: .*NUL"),
        (lambda: Retry(timedelta(1), at=NOW), "wait or at, not both"),
        (lambda: Retry(at=datetime(2030, 1, 1)), r"Retry got .*2030.*no time zone"),  # noqa: DTZ001
        (lambda: Retry({"fortnights": 1}), "Retry got {'fortnights': 1}, which is no wait"),  # type: ignore[arg-type]
        (lambda: Snooze({"hour": 1}), "Snooze got {'hour': 1}, which is no wait"),  # type: ignore[arg-type]
        (lambda: Snooze(60), "Snooze got 60, which is no wait"),  # type: ignore[arg-type]
        (lambda: Retry(timedelta.max), "Retry got .*more than a hundred years"),
        (lambda: Snooze(timedelta(seconds=-1)), "Snooze takes a wait of 0 or more"),
        (lambda: Snooze(timedelta.max), "Snooze got .*more than a hundred years"),
    ],
)
def test_a_decision_that_no_job_can_follow_is_refused_where_it_is_made(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(InvalidRetryStrategy, match=message):
        make()


def test_a_decision_takes_a_wait_by_its_keywords() -> None:
    assert Retry({"minutes": 2}).wait == Snooze({"seconds": 120}).wait == timedelta(minutes=2)
    assert RetryDecision(retry_in={"minutes": 1, "seconds": 30}).wait == timedelta(seconds=90)


def test_a_time_of_a_zone_with_seconds_in_its_offset_is_the_same_moment() -> None:
    zone = timezone(timedelta(hours=-7, minutes=-17, seconds=-28))
    at = datetime(2031, 1, 1, tzinfo=zone)
    decided = RetryDecision(retry_at=at).retry_at
    assert decided == at
    assert decided.utcoffset() == timedelta()

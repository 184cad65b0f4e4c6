"""Charts, as the coordinates of what a template draws in SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskq.queries.job_summary import SPANS, EndedJobs

# In which everything is drawn; a browser stretches it.
WIDTH = 600.0
HEIGHT = 120.0


@dataclass(frozen=True, slots=True)
class Bar:
    """What ended in a span of time.

    Attributes:
        begins: When the span began.
        x: Where it is.
        jobs: How many jobs ended.
        failed: How many of them failed.
        top: Where the bar of those that did not fail begins, from above.
        height: How high it is.
        failed_top: Likewise of those that failed.
        failed_height: Likewise.
    """

    begins: datetime
    x: float
    jobs: int
    failed: int
    top: float
    height: float
    failed_top: float
    failed_height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """How many jobs ended in each span of a time.

    Attributes:
        bars: A bar for each span.
        width: How wide one is.
        highest: How many jobs the highest stands for.
        jobs: How many ended in all.
        failed: How many of them failed.
        is_estimate: Whether these are estimates.
    """

    bars: Sequence[Bar]
    width: float
    highest: int
    jobs: int
    failed: int
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """For how long jobs ran that ended in each span of a time: lines, with gaps where none ended.

    Attributes:
        median: The path of what half of them took at most.
        p95: The path of what 95 % of them took at most.
        highest: For how many seconds the highest point stands; None: none ran.
        latest_median: The latest of them, in seconds.
        latest_p95: Likewise.
    """

    median: str
    p95: str
    highest: float | None
    latest_median: float | None
    latest_p95: float | None


def throughput_of(ended: Sequence[EndedJobs], now: datetime, window: timedelta) -> Throughput:
    """The chart of how many jobs ended."""
    found = {each.begins: each for each in ended}
    highest = max((each.jobs for each in ended), default=0)
    width = WIDTH / SPANS
    bars = []
    for at, begins in enumerate(_spans(now, window)):
        each = found.get(begins)
        jobs, failed = (each.jobs, each.failed) if each else (0, 0)
        high = HEIGHT * jobs / highest if highest else 0.0
        failed_high = HEIGHT * failed / highest if highest else 0.0
        bars.append(
            Bar(
                begins=begins,
                x=round(at * width, 2),
                jobs=jobs,
                failed=failed,
                top=round(HEIGHT - high, 2),
                height=round(high - failed_high, 2),
                failed_top=round(HEIGHT - failed_high, 2),
                failed_height=round(failed_high, 2),
            )
        )
    return Throughput(
        bars=bars,
        width=round(width * 0.72, 2),
        highest=highest,
        jobs=sum(each.jobs for each in ended),
        failed=sum(each.failed for each in ended),
        is_estimate=any(each.is_estimate for each in ended),
    )


def run_times_of(ended: Sequence[EndedJobs], now: datetime, window: timedelta) -> RunTimes:
    """The chart of for how long jobs ran."""
    spans = {begins: at for at, begins in enumerate(_spans(now, window))}
    timed = [each for each in ended if each.p95 is not None and each.begins in spans]
    highest = max((each.p95 or 0.0 for each in timed), default=None)
    last = max(timed, key=lambda each: each.begins, default=None)
    return RunTimes(
        median=_line({spans[each.begins]: each.median or 0.0 for each in timed}, highest or 0),
        p95=_line({spans[each.begins]: each.p95 or 0.0 for each in timed}, highest or 0),
        highest=highest,
        latest_median=None if last is None else last.median,
        latest_p95=None if last is None else last.p95,
    )


def _spans(now: datetime, window: timedelta) -> list[datetime]:
    each = int(window.total_seconds()) // SPANS
    last = int(now.timestamp()) // each * each
    return [
        datetime.fromtimestamp(last - back * each, now.tzinfo) for back in reversed(range(SPANS))
    ]


def _line(values: Mapping[int, float], highest: float) -> str:
    """The path through values; one that stands alone is a short dash."""
    width = WIDTH / SPANS
    steps = []
    for at, value in sorted(values.items()):
        y = round(HEIGHT - (HEIGHT * value / highest if highest else 0), 2)
        x = round((at + 0.5) * width, 2)
        if at - 1 in values:
            steps.append(f"L{x} {y}")
        else:
            steps.append(f"M{round(x - width / 4, 2)} {y}L{x} {y}")
    return "".join(steps)

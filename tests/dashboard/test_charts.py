"""Charts: what ended in each span, and lines with gaps where nothing did."""

from datetime import UTC, datetime, timedelta

from taskq.contrib.dashboard.charts import HEIGHT, run_times_of, throughput_of
from taskq.queries.job_summary import EndedJobs

NOW = datetime(2030, 1, 31, 18, 30, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ended(minutes_ago: int, jobs: int, failed: int = 0, p95: float | None = 1.0) -> EndedJobs:
    begins = NOW.replace(second=0) - timedelta(minutes=minutes_ago)
    return EndedJobs(
        name=str(int(begins.timestamp())),
        jobs=jobs,
        failed=failed,
        is_estimate=False,
        median=p95,
        p95=p95,
    )


def test_each_minute_of_the_hour_has_its_bar() -> None:
    chart = throughput_of([ended(59, 5), ended(0, 10, failed=4)], NOW, HOUR)
    assert len(chart.bars) == 60
    assert (chart.jobs, chart.failed, chart.highest) == (15, 4, 10)
    first, last = chart.bars[0], chart.bars[-1]
    assert (first.begins.hour, first.begins.minute) == (17, 31)
    assert (first.height, first.failed_height) == (HEIGHT / 2, 0)
    # One above the other, as high as the chart.
    assert last.top == 0
    assert last.failed_top == last.height
    assert last.height + last.failed_height == HEIGHT


def test_a_line_begins_anew_after_a_minute_in_which_nothing_ran() -> None:
    chart = run_times_of([ended(9, 1), ended(8, 1, p95=2), ended(5, 1)], NOW, HOUR)
    assert chart.highest == 2
    assert chart.p95.count("M") == 2
    assert chart.latest_p95 == 1


def test_without_jobs_there_is_nothing_to_draw() -> None:
    assert throughput_of([], NOW, HOUR).highest == 0
    empty = run_times_of([ended(3, 2, p95=None)], NOW, HOUR)
    assert (empty.highest, empty.p95) == (None, "")

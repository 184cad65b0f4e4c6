"""The metrics of several processes as one page."""

from prometheus_client.parser import text_string_to_metric_families

from taskq.supervisor.merging import merge

ONE = """\
# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{queue="a b",task="t"} 3.0
# HELP run_seconds How long.
# TYPE run_seconds histogram
run_seconds_bucket{le="0.1"} 1.0
run_seconds_bucket{le="+Inf"} 2.0
run_seconds_count 2.0
run_seconds_sum 0.5
# HELP slots Slots.
# TYPE slots gauge
slots 4.0
# HELP mine Of the user.
# TYPE mine gauge
mine{process="x",other="said \\",process=\\"y\\""} 1.0
"""
TWO = ONE.replace("3.0", "5.0").replace('queue="a b"', 'queue="c"')
DATABASE = """\
# HELP waiting Jobs that wait.
# TYPE waiting gauge
waiting{queue="a"} 7.0
"""


def test_each_series_names_its_process_and_those_of_the_database_are_there_once() -> None:
    merged = merge({"farm-1": ONE, 'odd"-2': TWO}, DATABASE)
    families = list(text_string_to_metric_families(merged))
    names = [family.name for family in families]
    assert names == ["jobs", "run_seconds", "slots", "mine", "waiting"], "each once"
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    one, two = ("process", "farm-1"), ("process", 'odd"-2')
    assert samples["jobs_total", one, ("queue", "a b"), ("task", "t")] == 3
    assert samples["jobs_total", two, ("queue", "c"), ("task", "t")] == 5
    assert samples["run_seconds_bucket", ("le", "+Inf"), two] == 2
    assert samples["slots", one] == samples["slots", two] == 4
    assert samples["waiting", ("queue", "a")] == 7
    # As Prometheus does with a label that is taken.
    other = ("other", 'said ",process="y"')
    assert samples["mine", ("exported_process", "x"), other, one] == 1
    assert len(samples) == 2 * 7 + 1

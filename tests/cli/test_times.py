"""Times and durations on the command line."""

from datetime import timedelta

import click
import pytest

from taskq.cli.times import read_duration, read_time

CONTEXT = click.Context(click.Command("any"))
OPTION = click.Option(["--any"])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("90", timedelta(seconds=90)),
        ("0.5", timedelta(milliseconds=500)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("2w1d", timedelta(days=15)),
        ("1h30", timedelta(hours=1, seconds=30)),
        ("0", timedelta(0)),
    ],
)
def test_a_duration_is_seconds_or_numbers_with_units(said: str, meant: timedelta) -> None:
    assert read_duration(CONTEXT, OPTION, said) == meant


@pytest.mark.parametrize("said", ["", "soon", "-1", "1m1h", "5 m", "1e3", "m", "9" * 400])
def test_what_is_no_duration_is_refused(said: str) -> None:
    with pytest.raises(click.BadParameter):
        read_duration(CONTEXT, OPTION, said)


def test_a_time_has_an_offset() -> None:
    time = read_time(CONTEXT, OPTION, "2100-01-31T18:00Z")
    assert time
    assert time.utcoffset() == timedelta(0)
    with pytest.raises(click.BadParameter, match=r"2100-01-31T18:00:00\+01:00"):
        read_time(CONTEXT, OPTION, "2100-01-31T18:00")

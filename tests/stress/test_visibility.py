"""When a transaction had become visible."""

from math import inf

from tests.stress.visibility import Snapshot, Visibility


def test_a_snapshot_sees_what_had_ended_and_not_its_own_transaction() -> None:
    snapshot = Snapshot.parse("10:20:10,14", taken_by=16)
    assert [number for number in range(9, 22) if snapshot.sees(number)] == [
        *(9, 11, 12, 13),
        *(15, 17, 18, 19),
    ]
    assert not Snapshot.parse("20:20:", taken_by=19).sees(19)


def test_a_transaction_is_visible_by_the_first_snapshot_that_sees_it() -> None:
    visibility = Visibility(
        [10, 14, 20, 25],
        [
            (3.0, Snapshot(20, 25)),
            (1.0, Snapshot(10, 12, frozenset({10}))),
            (2.0, Snapshot(14, 20, frozenset({14}))),
        ],
    )
    assert [visibility.by(number) for number in (10, 14, 20, 25)] == [2.0, 3.0, 3.0, inf]

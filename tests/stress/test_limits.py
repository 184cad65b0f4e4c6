"""The checks of limits find what must not be, and nothing else."""

from datetime import timedelta

from taskq import Limit
from tests.stress.limits import crowding, haste
from tests.stress.tape import Tape

TWO = {"two": Limit("two", concurrency=2)}
SLOW = {"slow": Limit("slow", rate=1, per=timedelta(seconds=10))}


def test_a_job_too_many_of_a_key_is_found_and_one_after_another_has_ended_is_not() -> None:
    tape = Tape()
    for job_id in (1, 2, 3):
        tape.defer(job_id, lock=None, limit_key="two:a")
        tape.claim(job_id)
    other = Tape()
    for job_id in (1, 2, 3):
        other.defer(job_id, lock=None, limit_key="two:a" if job_id < 3 else "two:b")
        other.claim(job_id)
    other.end(1)
    other.defer(4, lock=None, limit_key="two:a")
    other.claim(4)
    assert [v.check for v in crowding(tape.log(), TWO, {})] == ["crowd"]
    assert crowding(other.log(), TWO, {}) == []


def test_a_job_too_many_of_a_queue_is_found() -> None:
    tape = Tape()
    for job_id in (1, 2, 3):
        tape.defer(job_id, lock=None, queue="d")
        tape.claim(job_id)
    assert [v.check for v in crowding(tape.log(), {}, {"d": TWO["two"]})] == ["crowd"]
    assert crowding(tape.log(), {}, {"e": TWO["two"]}) == []


def test_a_start_that_comes_too_soon_is_found_but_for_one_after_a_job_that_did_not_begin() -> None:
    tape = Tape()
    for job_id in (1, 2):
        tape.defer(job_id, lock=None, limit_key="slow")
        tape.claim(job_id)
        if job_id == 2:
            assert haste(tape.log(), SLOW) == []
        tape.run(job_id)
    assert [v.check for v in haste(tape.log(), SLOW)] == ["rate"]

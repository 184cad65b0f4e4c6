"""What is found in the logs of the server and of workers."""

from tests.stress import logs

SERVER = """\
2026-11-27 12:11:56.454 UTC [71] worker-1.1: LOG:  could not send data to client: Broken pipe
2026-11-27 12:11:56.454 UTC [71] worker-1.1: FATAL:  connection to client lost
2026-11-27 12:11:57.454 UTC [72] worker-2.1: ERROR:  canceling statement due to statement timeout
2026-11-27 12:11:57.454 UTC [72] worker-2.1: STATEMENT:  SELECT 1
2026-11-27 12:11:58.454 UTC [72] worker-2.1: ERROR:  deadlock detected
2026-11-27 12:11:58.454 UTC [72] worker-2.1: DETAIL:  Process 72 waits for ShareLock on transaction 7.
\tProcess 73: UPDATE taskq_jobs
2026-11-27 12:11:59.454 UTC [73] deferrer-0: LOG:  checkpoint starting
"""


def test_a_deadlock_is_found_and_what_a_kill_gives_rise_to_is_not() -> None:
    [found] = logs.of_server(SERVER.splitlines())
    assert "deadlock detected" in found.text
    assert "Process 73: UPDATE" in found.text
    assert "checkpoint" not in found.text


def test_a_worker_that_breaks_is_found_and_one_that_is_late_is_known() -> None:
    lines = [
        "1795781554.08 WARNING heartbeat_overdue no heartbeat for 2.0 s",
        "Traceback (most recent call last):",
        "1795781554.10 CRITICAL worker_broken a service of worker 7 broke",
    ]
    assert [violation.check for violation in logs.of_worker("worker-1.1", lines)] == ["worker"]
    [late] = logs.late("worker-1.1", lines)
    assert (late.kind, late.process, late.until) == ("starve", "worker-1.1", 1795781554.08)

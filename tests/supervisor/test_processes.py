"""Several processes for real: started, killed, signalled, and left without their supervisor."""

import http.client
import os
import re
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from taskq import App, JobManager, JobStatus
from tests.supervisor.conftest import Farm, StartFarm, wait_until

pytestmark = pytest.mark.slow


def get(port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=15)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Held:
    """A job that runs until it is let go."""

    def __init__(self, app: App, folder: Path, name: str = "go") -> None:
        self.file = folder / name
        self.begun = self.file.with_suffix(".begun")
        self.job_id: int = app.configure_task("hold").defer(file=str(self.file))

    def wait_until_begun(self) -> None:
        wait_until(self.begun.exists, "a job that runs")


def test_each_process_runs_jobs_under_a_name_of_its_own_and_they_end_when_none_is_left(
    app: App, manager: JobManager, start_farm: StartFarm
) -> None:
    ids = app.configure_task("who").batch_defer(*({} for _ in range(40)))
    farm = start_farm("--processes", "2", "--no-wait")
    pids = farm.wait_until_started(2)
    assert farm.ended() == 0, farm.lines
    who = Counter(str(manager.get_job(job_id).result) for job_id in ids)
    assert set(who) == {f"{name} {pid}" for name, pid in pids.items()}
    assert set(pids) == {"farm-1", "farm-2"}
    assert not [line for line in farm.lines if "another one is started" in line]
    # Each line says whose it is.
    shown = re.compile(r"^[\d-]+ [\d:,]+ [A-Z]+ (farm-\d|worker-\d|supervisor)\[\d+\] ")
    assert all(shown.match(line) for line in farm.lines), farm.lines


def test_one_that_is_killed_is_replaced_and_its_job_runs_again(
    app: App, manager: JobManager, start_farm: StartFarm, tmp_path: Path
) -> None:
    options = ("--update-heartbeat-interval", "0.3", "--stalled-worker-timeout", "1.5")
    farm = start_farm("--processes", "2", *options)
    farm.wait_until_started(2)
    held = Held(app, tmp_path)
    held.wait_until_begun()
    [worker_id] = {job.worker_id for job in manager.list_jobs(ids=[held.job_id])}
    [running] = [
        match
        for match in farm.wait_for(r"(farm-\d)\[(\d+)\] taskq.worker: worker (\d+) .* started", 2)
        if int(match[3]) == worker_id
    ]
    held.begun.unlink()
    os.kill(int(running[2]), signal.SIGKILL)
    farm.wait_for(rf"ERROR supervisor.* {running[1]} \(pid {running[2]}\) was ended by SIGKILL")
    farm.wait_until_started(3)
    held.wait_until_begun()
    held.file.touch()
    wait_until(
        lambda: manager.get_job_status(held.job_id) is JobStatus.SUCCEEDED, "the second attempt"
    )
    farm.process.terminate()
    assert farm.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("to_all", [False, True], ids=["to it", "to all"])
def test_told_to_stop_all_finish_what_runs_also_if_each_of_them_is_told(
    app: App,
    manager: JobManager,
    start_farm: StartFarm,
    tmp_path: Path,
    number: signal.Signals,
    to_all: bool,
) -> None:
    """A terminal's Ctrl-C and systemd's stop go to all processes of a group."""
    farm = start_farm("--processes", "2")
    pids = farm.wait_until_started(2)
    held = Held(app, tmp_path)
    held.wait_until_begun()
    farm.process.send_signal(number)
    for pid in pids.values() if to_all else ():
        os.kill(pid, number)
    farm.wait_for("all processes stop")
    farm.wait_for(r"worker: worker \d+ stops", 2)
    assert farm.process.poll() is None
    held.file.touch()
    assert farm.ended() == 0, farm.lines
    assert manager.get_job_status(held.job_id) is JobStatus.SUCCEEDED
    assert all(map(gone, pids.values()))


def test_told_twice_all_leave_at_once_and_what_runs_goes_back(
    app: App, manager: JobManager, start_farm: StartFarm, tmp_path: Path
) -> None:
    farm = start_farm("--processes", "2")
    pids = farm.wait_until_started(2)
    held = Held(app, tmp_path)
    held.wait_until_begun()
    farm.process.send_signal(signal.SIGTERM)
    farm.wait_for("all processes stop")
    farm.process.send_signal(signal.SIGINT)
    assert farm.ended() == 130
    assert manager.get_job_status(held.job_id) is JobStatus.TODO
    assert all(map(gone, pids.values()))


def test_when_the_supervisor_is_killed_its_processes_finish_and_end(
    app: App,
    manager: JobManager,
    connection: psycopg.Connection,
    start_farm: StartFarm,
    tmp_path: Path,
) -> None:
    farm = start_farm("--processes", "2")
    pids = farm.wait_until_started(2)
    held = Held(app, tmp_path)
    held.wait_until_begun()
    farm.process.kill()
    farm.process.wait()
    wait_until(lambda: sum(map(gone, pids.values())) == 1, "the end of the one that is idle")
    held.file.touch()
    wait_until(lambda: all(map(gone, pids.values())), "the end of both")
    assert manager.get_job_status(held.job_id) is JobStatus.SUCCEEDED
    assert connection.execute("SELECT count(*) FROM taskq_workers").fetchone() == (0,)


def test_a_process_that_is_told_to_stop_alone_is_replaced(start_farm: StartFarm) -> None:
    farm = start_farm("--processes", "1")
    [pid] = farm.wait_until_started(1).values()
    os.kill(pid, signal.SIGTERM)
    farm.wait_for(rf"farm-1 \(pid {pid}\) ended with exit code 0 .*: another one is started")
    farm.wait_for("has started, for", 2)
    farm.process.terminate()
    assert farm.ended() == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        ((), {"TASKQ_APP": "tests.supervisor.nowhere:app"}, 2, "no app can be imported"),
        ((), {"TASKQ_TEST_IMPORT": "raises"}, 2, "a bug in the module"),
        (("--concurrency", "0"), {}, 2, "concurrency"),
        ((), {"TASKQ_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, 1, "127.0.0.1"),
    ],
    ids=["no app", "bug", "option", "no database"],
)
def test_one_that_cannot_start_is_not_started_for_ever(
    start_farm: StartFarm,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    code: int,
    says: str,
) -> None:
    farm = start_farm("--processes", "2", *arguments, **variables)
    assert farm.ended() == code
    said = "".join(farm.lines)
    assert says in said
    assert re.search(r"CRITICAL supervisor\[\d+\] .*, as it says; all end", said)
    assert "another one is started" not in said


def test_as_many_as_each_may_are_run_and_then_all_have_ended(
    app: App, connection: psycopg.Connection, start_farm: StartFarm
) -> None:
    app.configure_task("who").batch_defer(*({} for _ in range(20)))
    farm = start_farm("--processes", "2", "--max-jobs", "4")
    assert farm.ended() == 0
    assert connection.execute("SELECT sum(claim) FROM taskq_jobs").fetchone() == (8,)
    assert not [line for line in farm.lines if "another one is started" in line]


def port_of(farm: Farm) -> int:
    return int(
        farm.wait_for(r"the supervisor answers .* for all processes at \S+, port (\d+)")[0][1]
    )


def test_one_port_answers_for_all_processes(
    app: App, start_farm: StartFarm, tmp_path: Path
) -> None:
    ids = app.configure_task("who").batch_defer(*({} for _ in range(12)))
    variables = {"TASKQ_WORKER_PROCESSES": "2", "TASKQ_WORKER_HTTP": "0"}
    farm = start_farm(**variables)
    pids = farm.wait_until_started(2)
    port = port_of(farm)
    assert not [line for line in farm.lines if "has no effect" in line]
    wait_until(lambda: get(port, "/readyz") == (200, "ok\n"), "both are ready")
    assert get(port, "/livez") == (200, "ok\n")
    ended = re.compile(r'taskq_jobs_ended_total\{process="(farm-\d)",.*\} (\S+)')

    def counted() -> float:
        return sum(float(value) for _, value in ended.findall(get(port, "/metrics")[1]))

    wait_until(lambda: counted() == len(ids), "all jobs in the metrics")
    status, page = get(port, "/metrics")
    assert status == 200
    for name in pids:
        assert f'\ntaskq_worker_slots{{process="{name}"}} 1.0\n' in page
    assert page.count("\ntaskq_database_up ") == 1
    assert page.count("# TYPE taskq_jobs_ended_total ") == 1
    # While one is away, it is not ready, and alive.
    os.kill(pids["farm-2"], signal.SIGKILL)
    wait_until(
        lambda: get(port, "/readyz") == (503, "farm-2 has ended, and is started again\n"),
        "one that is away",
    )
    assert get(port, "/livez")[0] == 200
    wait_until(lambda: get(port, "/readyz")[0] == 200, "both again")
    assert 'taskq_worker_slots{process="farm-2"} 1.0' in get(port, "/metrics")[1]
    held = Held(app, tmp_path)
    held.wait_until_begun()
    farm.process.terminate()
    wait_until(lambda: get(port, "/readyz")[0] == 503, "the stop")
    assert get(port, "/readyz")[1].startswith("it stops")
    held.file.touch()
    assert farm.ended() == 0

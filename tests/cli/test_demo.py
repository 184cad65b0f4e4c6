"""The demo, on real files and as a process."""

import hashlib
import os
import pty
import re
import shlex
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from taskq import JobManager, JobStatus
from tests.cli.conftest import ended, process

# To root nothing is locked.
AS_ROOT = os.geteuid() == 0
SUCCEEDED, FAILED = (12, 2) if AS_ROOT else (11, 3)  # with one fold for each of four file types

# Read for minutes, and no space on the disk.
ENDLESS = 200 * 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of some types, and with those that cannot be read."""
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    for name, content in {
        "one.txt": b"a\nb\n",
        "below/two.TXT": b"no line end",
        "three.bin": bytes(range(256)) * 5000,  # more than is read at once
        "four": b"\n",
        "empty.txt": b"",
        "locked.txt": b"for root alone\n",
        "[red]new\nline.t\x1bxt": b"x",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "locked.txt").chmod(0)
    (folder / "linked.txt").symlink_to("one.txt")
    (folder / "broken.txt").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.txt")
    Path(os.fsdecode(bytes(folder) + b"/\xff.txt")).write_text("x")
    return folder


class Measured(NamedTuple):
    size: int
    lines: int
    sha256: str


def measured(path: Path) -> Measured:
    content = path.read_bytes()
    lines = subprocess.run(["wc", "-l", path], capture_output=True, check=True).stdout.split()[0]
    return Measured(len(content), int(lines), hashlib.sha256(content).hexdigest())


def is_open(path: Path, pid: int) -> bool:
    """Whether a process has a file open."""
    opened = (os.path.realpath(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    return os.path.realpath(path) in opened


def rows(report: str) -> dict[str, list[int]]:
    """The table's rows, by file type."""
    cells = [re.split(r"\s*│\s*", line.strip("│ ")) for line in report.splitlines() if "│" in line]
    return {name: [int(n.replace(",", "")) for n in numbers] for name, *numbers in cells}


def test_its_sums_are_those_of_wc_and_sha256sum(folder: Path, manager: JobManager) -> None:
    done = ended("demo", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    readable = [
        "one.txt",
        "below/two.TXT",
        "empty.txt",
        "linked.txt",
        *(["locked.txt"] if AS_ROOT else []),
    ]
    texts = [measured(folder / name) for name in readable]
    table = rows(done.stdout)
    assert table[".txt"] == [len(texts), sum(t.size for t in texts), sum(t.lines for t in texts)]
    three = measured(folder / "three.bin")
    assert table[".bin"] == [1, three.size, three.lines]
    assert table["(none)"] == [1, 1, 1]
    assert table[r".t\x1bxt"] == [1, 1, 0]
    assert table["all"] == [
        sum(numbers) for numbers in zip(*list(table.values())[:-1], strict=True)
    ]
    for job in manager.list_jobs(ids=range(1, 100)):
        if job.task_name == "demo.measure" and job.status is JobStatus.SUCCEEDED:
            result = measured(Path(str(job.task_kwargs["path"])))
            assert job.result == result._asdict()
    assert measured(folder / "[red]new\nline.t\x1bxt").sha256 in done.stdout


def test_a_file_that_cannot_be_read_is_a_failed_job_whose_error_is_shown(
    folder: Path, manager: JobManager
) -> None:
    report = ended("demo", str(folder)).stdout
    assert re.search(r"Job \d+ failed: \S+/broken.txt: FileNotFoundError: ", report)
    assert re.search(r"Job \d+ failed: \S+/pipe.txt: ValueError: .* not a regular file", report)
    assert re.search(r"Not deferred: \S+/\\udcff.txt: .* lone surrogate", report)
    assert AS_ROOT or re.search(r"Job \d+ failed: \S+/locked.txt: PermissionError: ", report)
    assert re.search(
        rf"^{SUCCEEDED} jobs succeeded, {FAILED} failed, in .* jobs per second\.$",
        report,
        re.MULTILINE,
    )
    statuses = Counter(job.status for job in manager.list_jobs(ids=range(1, 100)))
    assert statuses == {JobStatus.SUCCEEDED: SUCCEEDED, JobStatus.FAILED: FAILED}


def test_a_second_run_says_the_same(folder: Path) -> None:
    first, second = (ended("demo", str(folder)).stdout for _ in range(2))
    assert rows(first) == rows(second)
    assert f"{SUCCEEDED} jobs succeeded, {FAILED} failed" in second


def test_the_folds_of_a_file_type_share_a_lock_and_go_on_from_one_another(
    tmp_path: Path, manager: JobManager
) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.txt").write_text("x\n")
    report = ended("demo", str(tmp_path)).stdout
    assert rows(report)[".txt"] == [1001, 2002, 1001]
    folds = [job for job in manager.list_jobs(ids=range(1, 2000)) if job.task_name == "demo.fold"]
    assert len(folds) == 3
    [lock] = {job.lock for job in folds}
    assert lock is not None
    assert lock.endswith(" .txt")
    assert [job.result["files"] for job in folds if isinstance(job.result, dict)] == [
        500,
        1000,
        1001,
    ]


def test_what_it_says_to_run_by_hand_runs(folder: Path, manager: JobManager) -> None:
    report = ended("demo", str(folder)).stdout
    hints = [
        shlex.split(line)[3:]
        for line in report.splitlines()
        if line.startswith("  python -m taskq")
    ]
    assert [hint[0] for hint in hints] == ["queues", "jobs", "jobs", "defer", "worker"]
    for hint in hints[:3]:
        assert ended(*hint).returncode == 0
    job_id = int(ended(*hints[3]).stdout)
    assert manager.get_job_status(job_id) is JobStatus.TODO
    assert ended(*hints[4], "--no-wait").returncode == 0
    assert manager.get_job_status(job_id) is JobStatus.SUCCEEDED


def test_what_it_says_to_compare_with_says_the_same(folder: Path) -> None:
    lines = ended("demo", str(folder)).stdout.splitlines()
    compared = [
        (said, command) for said, command in pairwise(lines) if command.startswith("  sha256sum ")
    ]
    assert len(compared) >= 3
    for said, command in compared:
        shown = subprocess.run(["bash", "-c", command], capture_output=True, check=True, text=True)
        sha256, lines_and_bytes = shown.stdout.lstrip("\\").split(" ", 1)
        numbers = re.findall(r"^ *(\d+) +(\d+) ", lines_and_bytes, re.MULTILINE)[-1]
        assert said == f"  # {sha256}, {numbers[0]} lines, {numbers[1]} bytes"


def test_ctrl_c_ends_it_and_leaves_no_job_behind(
    tmp_path: Path, connection: psycopg.Connection, manager: JobManager
) -> None:
    endless = tmp_path / "endless"
    endless.touch()
    os.truncate(endless, ENDLESS)
    for number in range(20):
        (tmp_path / f"later{number}").touch()
    connection.execute("SELECT taskq_listen()")
    with process("demo", str(tmp_path), "--concurrency", "1") as running:
        assert list(connection.notifies(timeout=20, stop_after=1)), "nothing was deferred"
        while not is_open(endless, running.pid):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    statuses = Counter(job.status for job in manager.list_jobs(ids=range(1, 100)))
    assert statuses == {JobStatus.ABORTED: 1, JobStatus.CANCELLED: 20}


def test_a_bar_shows_how_far_it_is_on_a_terminal(folder: Path) -> None:
    ours, its = pty.openpty()
    with process("demo", str(folder), stdout=subprocess.DEVNULL, stderr=its) as running:
        os.close(its)
        shown = b""
        with suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # Linux fails at the end
            while part := terminal.read(4096):
                shown += part
        assert running.wait(20) == 0
    assert b"14/14" in shown
    assert b"10/10" not in shown, "it knows of the folds from the beginning"


def test_a_database_that_is_named_is_used_and_gets_the_schema(
    tmp_path: Path, bare_url: str
) -> None:
    done = ended("demo", str(tmp_path), "--database", bare_url)
    assert done.returncode == 0
    assert "Applied 0001_pre_initial.sql." in done.stdout
    assert "0 jobs succeeded, 0 failed." in done.stdout


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = ended("demo", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "does not exist" in done.stderr

"""The demo, on real files and as a process."""

import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from rich.cells import cell_len
from sqlalchemy import make_url

from taskq import JobManager, JobStatus
from taskq.database.database import URL_VARIABLE
from taskq.embedded import FOLDER_VARIABLE
from tests.cli.conftest import ended, process
from tests.cli.terminal import on_terminal

pytestmark = pytest.mark.slow

# To root nothing is locked.
AS_ROOT = os.geteuid() == 0
SUCCEEDED, FAILED = (12, 2) if AS_ROOT else (11, 3)  # with one fold for each of four file types

# What a command to paste begins with.
PASTED = "  python -m taskq"
COMMANDS = ("  sha256sum ", "  wc ", "  export ", f"{PASTED} defer ", f"{PASTED} jobs list ")

SECRET = "geheim"  # noqa: S105

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


def unwrapped(report: str) -> str:
    """What it says, wherever its lines end."""
    return re.sub(r"\s+", "", report)


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
    said = unwrapped(report)
    assert re.search(r"Job\d+failed:\S+/broken.txt:FileNotFoundError:", said)
    assert re.search(r"Job\d+failed:\S+/pipe.txt:ValueError:itisnotaregularfile", said)
    assert re.search(r"Notdeferred:\S+/\\udcff.txt:itsnameisnotvalidUTF-8", said)
    assert AS_ROOT or re.search(r"Job\d+failed:\S+/locked.txt:PermissionError:", said)
    assert "PosixPath" not in report
    assert not re.search(r"^(?!  ).*'", report, re.MULTILINE), "nothing is quoted as Python does"
    assert re.search(
        rf"^{SUCCEEDED} jobs succeeded, {FAILED} failed, in .* jobs? per second\.$",
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
    hints = [shlex.split(line)[3:] for line in report.splitlines() if line.startswith(PASTED)]
    assert [hint[0] for hint in hints] == ["queues", "jobs", "jobs", "defer", "worker"]
    for hint in hints[:3]:
        assert ended(*hint).returncode == 0
    job_id = int(ended(*hints[3]).stdout)
    assert manager.get_job_status(job_id) is JobStatus.TODO
    assert ended(*hints[4], "--no-wait").returncode == 0
    assert manager.get_job_status(job_id) is JobStatus.SUCCEEDED


def test_what_it_says_to_compare_with_says_the_same(folder: Path) -> None:
    (folder / "one.txt").write_bytes(b"x\n")
    lines = ended("demo", str(folder)).stdout.splitlines()
    compared = [
        (command, said)
        for command, said in pairwise(lines)
        if command.startswith(("  sha256sum ", "  wc "))
    ]
    assert len(compared) >= 6
    for command, said in compared:
        shown = subprocess.run(["bash", "-c", command], capture_output=True, check=True, text=True)
        if "sha256sum" in command:
            assert said == f"  # {shown.stdout.lstrip(chr(92)).split()[0]}"
        else:
            lines_and_bytes = shown.stdout.split()[:2]
            assert re.findall(r"\d+", said.replace(",", "")) == lines_and_bytes
            assert not re.search(r"\b1 (lines|bytes)", said)


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
    with on_terminal("demo", str(folder), stdout=subprocess.DEVNULL) as terminal:
        shown = terminal.rest()
    totals = re.findall(r"\d+/(\w+)", shown)
    assert re.search(r"\b0/14", shown)
    assert set(totals) == {"14"}, "it knows of all from the beginning, folds included"


def test_a_database_that_is_named_is_used_and_gets_the_schema(
    tmp_path: Path, bare_url: str
) -> None:
    done = ended("demo", str(tmp_path), "--database", bare_url)
    assert done.returncode == 0
    assert "Applied 0001_pre_tables.sql." in done.stdout
    assert "named by --database." in done.stdout
    assert "0 jobs succeeded, 0 failed." in done.stdout


def test_all_that_it_says_fits_on_a_terminal(tmp_path: Path, folder: Path) -> None:
    deep = tmp_path / "files" / ("a name of a folder " * 5)
    deep.mkdir()
    (deep / "missing.txt").symlink_to("nowhere")
    with on_terminal("demo", str(folder), columns=80) as terminal:
        shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.rest())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown)]
    assert len(lines) > 40
    assert [line for line in lines if cell_len(line) > 80 and not line.startswith(COMMANDS)] == []


@pytest.mark.parametrize("how", ["option", "option's variable", "URL", "libpq", "embedded"])
def test_what_it_says_to_paste_reaches_the_database_that_was_used(
    tmp_path: Path, how: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.txt").write_text("x\n")
    monkeypatch.delenv(URL_VARIABLE)
    # It says nothing where another database is named.
    monkeypatch.setenv(FOLDER_VARIABLE, "embedded")
    environ = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    parameters = conninfo_to_dict(str(make_url(database_url).set(drivername="postgresql")))
    arguments, named = [], "--database"
    match how:
        case "option":
            arguments = ["--database", database_url]
        case "option's variable":
            named = "TASKQ_DEMO_DATABASE"
            monkeypatch.setenv(named, database_url)
        case "URL":
            named = URL_VARIABLE
            monkeypatch.setenv(named, database_url)
        case "libpq":
            variables = {
                "host": "PGHOST",
                "port": "PGPORT",
                "user": "PGUSER",
                "dbname": "PGDATABASE",
            }
            for parameter, variable in variables.items():
                monkeypatch.setenv(variable, str(parameters[parameter]))
            named = "PGHOST, PGPORT, PGDATABASE"
        case "embedded":
            named = FOLDER_VARIABLE
    report = ended("demo", str(files), *arguments, cwd=tmp_path).stdout
    assert f"namedby{named.replace(' ', '')}." in unwrapped(report)
    lines = report.splitlines()
    exports = [line for line in lines if line.startswith("  export ")]
    assert any(FOLDER_VARIABLE in line for line in exports) == (how == "embedded")
    [show] = [line for line in lines if line.startswith(f"{PASTED} jobs show ")]
    script = "\n".join([*exports, show.replace("python", shlex.quote(sys.executable), 1)])
    # Another terminal, which knows of nothing.
    shown = subprocess.run(
        ["bash", "-c", script], capture_output=True, check=False, text=True, env=environ, cwd="/"
    )
    assert shown.returncode == 0, shown.stderr
    assert "demo.measure" in shown.stdout


@pytest.mark.parametrize("given", [True, False], ids=["option", "variable"])
def test_a_password_is_not_among_what_it_says_to_paste(
    tmp_path: Path, given: bool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    url = make_url(database_url).set(password=SECRET).render_as_string(hide_password=False)
    monkeypatch.setenv(URL_VARIABLE, database_url if given else url)
    report = ended("demo", str(tmp_path), *(["--database", url] if given else [])).stdout
    assert SECRET not in report
    exports = [line for line in report.splitlines() if line.startswith("  export ")]
    assert [line.partition("=")[0] for line in exports] == [f"  export {URL_VARIABLE}"] * given
    assert ("***" in "".join(exports)) == given
    unshown = "PGPASSWORD" if given else f"PGPASSWORDand{URL_VARIABLE}"
    assert f"notshown:set{unshown}asitishere." in unwrapped(report)


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = ended("demo", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "does not exist" in done.stderr

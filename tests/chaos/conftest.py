"""A server for all faults that it survives, a database for each test, and what stops all that was started."""

import dataclasses
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from taskq.pytest.server import in_memory
from tests.chaos.crew import Crew
from tests.chaos.deferring import Deferring
from tests.chaos.proxy import Proxy
from tests.chaos.scene import Figures, Scene
from tests.chaos.server import Server
from tests.chaos.table import PROPERTY

_LONG = int(os.environ.get("TASKQ_TEST_CHAOS", "0"))

# How often each fault is made.
TIMES = max(_LONG, 1)

long_form = pytest.mark.skipif(not _LONG, reason="in the long form alone: TASKQ_TEST_CHAOS=1")
SEED = os.environ.get("TASKQ_TEST_CHAOS_SEED", "7")

MakeServer = Callable[..., Server]
Record = Callable[[Figures], None]

# Whatever a test sets for the database.
_PLAIN = "-c statement_timeout=0 -c default_transaction_read_only=off"

_numbers = count(1)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="taskq-chaos-", dir=in_memory()) as name:
        folder = Path(name)
        # The server runs as another user than root.
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="session")
def server(server_folder: Path) -> Iterator[Server]:
    """The server of the tests that it survives, with the template."""
    server = Server(server_folder)
    server.create()
    try:
        server.start()
        server.make_template()
        yield server
    finally:
        server.stop("immediate")


@pytest.fixture
def make_server(server_folder: Path) -> Iterator[MakeServer]:
    """Makes servers for one test, created and not started; they are stopped at its end."""
    with ExitStack() as stack:

        def make(*settings: str, **options: object) -> Server:
            server = Server(server_folder, *settings, **options)  # type: ignore[arg-type]
            stack.callback(server.stop, "immediate")
            return server

        yield make


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """What a test draws at random, from the seed of the run and its own name."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def proxies() -> Iterator[Callable[[int], Proxy]]:
    """Makes proxies before ports, which are closed at the end."""
    with ExitStack() as stack:

        def make(port: int) -> Proxy:
            proxy = Proxy(port)
            stack.callback(proxy.close)
            return proxy

        yield make


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """Puts the figures of a test into the table of the run."""
    return lambda figures: record_property(PROPERTY, dataclasses.asdict(figures))


class Stage:
    """Makes the scenes of a test.

    Args:
        folder: Where workers log.
        stack: What is to be ended with the test.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def database(self, server: Server, options: str = "") -> str:
        """A database of a server, with the schema; its name."""
        name = f"chaos_{os.getpid()}_{next(_numbers)}"
        server.make_database(name, options=options)
        return name

    def scene(
        self,
        name: str,
        server: Server,
        *,
        database: str | None = None,
        through: Callable[[str], str] = lambda url: url,
        deferrers: Callable[[str], str] | None = None,
        environment: Mapping[str, str] | None = None,
        connect: Callable[[], psycopg.Connection[TupleRow]] | None = None,
        size: int = 2,
    ) -> Scene:
        """Workers and deferrers at work on a database.

        Args:
            name: Of the fault.
            server: Whose.
            database: Its name; None: one of its own.
            through: Turns its URL into that of the workers, and of the deferrers.
            deferrers: Turns its URL into that of the deferrers, if that is another one.
            environment: Variables for the workers.
            connect: Connects past what is disturbed; None: to the server.
            size: How many workers.
        """
        name_of_database = database or self.database(server)
        url = server.url(name_of_database)
        direct_url = server.url(name_of_database, user="postgres")
        crew = Crew(through(url), self._folder, environment=environment, size=size)
        self._stack.callback(crew.close)
        deferring = Deferring((deferrers or through)(url), SEED)
        self._stack.callback(deferring.end)
        return Scene(
            name,
            name_of_database,
            connect=connect
            or (lambda: psycopg.connect(direct_url, connect_timeout=5, options=_PLAIN)),
            url=through(url),
            crew=crew,
            deferring=deferring,
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)

"""Sessions that stop in the middle of their transactions."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from psycopg.errors import UniqueViolation
from psycopg.pq import TransactionStatus

from taskq.exceptions import AlreadyEnqueued
from tests.model.database import HOUR, Session
from tests.model.invariants import check
from tests.model.state import Figures, Job, State

# Where an operation stops: nowhere, and its transaction stays open at its end; or about to change jobs, to
# open the gate of a lock or of a limit, or to forget one of them.
STOPS = ("end", "taskq_jobs", "taskq_open_gates", "taskq_limit_gates", "forget")
# In which order they end: as they began, the last one first, or all that begin later within the first one.
ENDS = ("as begun", "reversed", "within")

_TRIGGERS = """
CREATE FUNCTION stop_here() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('stage.passed', current_setting('stage.passed', true) || ' ' || TG_ARGV[0], false);
    IF current_setting('stage.stop', true) = TG_ARGV[0] THEN
        PERFORM set_config('stage.stop', '', false);
        PERFORM pg_advisory_xact_lock(77, current_setting('stage.actor')::integer);
    END IF;
    RETURN null;
END $$;
CREATE TRIGGER stop_jobs BEFORE INSERT OR UPDATE OR DELETE ON taskq_jobs
FOR EACH STATEMENT EXECUTE FUNCTION stop_here('taskq_jobs');
CREATE TRIGGER stop_gates BEFORE INSERT ON taskq_open_gates
FOR EACH STATEMENT EXECUTE FUNCTION stop_here('taskq_open_gates');
CREATE TRIGGER stop_limits BEFORE INSERT ON taskq_limit_gates
FOR EACH STATEMENT EXECUTE FUNCTION stop_here('taskq_limit_gates');
CREATE TRIGGER stop_forget BEFORE DELETE OR UPDATE ON taskq_open_gates
FOR EACH STATEMENT EXECUTE FUNCTION stop_here('forget');
CREATE TRIGGER stop_forget BEFORE DELETE OR UPDATE ON taskq_limit_gates
FOR EACH STATEMENT EXECUTE FUNCTION stop_here('forget');
"""

Operation = Callable[[Session], Any]


class Actor:
    """A session that runs one operation in a transaction of its own.

    Args:
        connection: Its connection, in autocommit.
        director: Another one, by which it is stopped, and watched.
        number: Which of all it is.
        pool: Where it waits for the server.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        director: psycopg.Connection,
        number: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._session = Session(connection)
        self._director = director
        self._number = number
        self._pool = pool
        self._running: Future[Any] | None = None

    def start(self, operation: Operation, *, stop: str, may_wait: bool) -> None:
        """Begin an operation, as far as it comes: to its stop, to its end, or until it waits for another."""
        connection = self._session.connection
        if stop != "end":
            self._director.execute("SELECT pg_advisory_lock(77, %s)", [self._number])
        connection.execute(
            "SELECT set_config('stage.actor', %s, false), set_config('stage.stop', %s, false), "
            "set_config('stage.passed', '', false)",
            [str(self._number), stop],
        )
        connection.execute("BEGIN")
        self._may_wait = may_wait
        self._running = self._pool.submit(operation, self._session)
        self._watch()

    @property
    def is_done(self) -> bool:
        """Whether its operation is, and only its transaction is open."""
        assert self._running is not None
        return self._running.done()

    def go_on(self) -> bool:
        """Let it go on from its stop, if it is at one; returns whether its operation is done."""
        self._director.execute("SELECT pg_advisory_unlock_all()")
        self._watch()
        return self.is_done

    def end(self) -> None:
        """Commit; what was refused is rolled back."""
        assert self._running is not None
        try:
            self._running.result()
        except (AlreadyEnqueued, UniqueViolation):
            self._session.connection.execute("ROLLBACK")
        else:
            self._session.connection.execute("COMMIT")

    def give_up(self) -> None:
        """End what is under way, where a promise was broken."""
        self._director.execute("SELECT pg_advisory_unlock_all()")
        connection = self._session.connection
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            connection.cancel_safe()
            assert self._running is not None
            wait([self._running])
            connection.execute("ROLLBACK")

    @property
    def passed(self) -> set[str]:
        """Which stops it has come to, whether it was to stop there or not."""
        [names] = self._session.connection.execute(
            "SELECT current_setting('stage.passed')"
        ).fetchone() or ("",)
        return set(names.split())

    def _watch(self) -> None:
        pid = self._session.connection.info.backend_pid
        assert self._running is not None
        while not self._running.done():
            [blockers] = self._director.execute(
                "SELECT pg_blocking_pids(%s)", [pid]
            ).fetchone() or [()]
            if blockers == [self._director.info.backend_pid]:
                return
            if blockers:
                check(self._may_wait, "a claim waits for no other transaction", blockers)
                return


def play(
    actors: Sequence[Actor],
    operations: Sequence[tuple[Operation, bool]],
    *,
    stop: str,
    ends: str,
) -> set[str]:
    """Run operations at once; returns which stops the first one has come to.

    Args:
        actors: The sessions.
        operations: What each of them does, in the order in which they begin, and whether it may wait for
            others.
        stop: Where the first one stops.
        ends: In which order they end.
    """
    first, *others = actors[: len(operations)]
    first.start(operations[0][0], stop=stop, may_wait=operations[0][1])
    left = [first]
    for actor, (operation, may_wait) in zip(others, operations[1:], strict=True):
        actor.start(operation, stop="", may_wait=may_wait)
        left.append(actor)
        if ends == "within" and actor.is_done:
            actor.end()
            left.remove(actor)
    if ends == "reversed":
        left.reverse()
    while left:
        done = next((actor for actor in left if actor.go_on()), None)
        check(done is not None, "sessions do not wait for one another in a circle", ends)
        assert done is not None
        done.end()
        left.remove(done)
    return first.passed


def observe(rows: dict[int, Job], connection: psycopg.Connection) -> State:
    """The database as the model has it: what the promises of the end are about."""
    state = State(jobs=rows)
    for job in rows.values():
        # Claimed one by one: none is in a run with another.
        job.batch = job.id
    for key, by_operator, concurrency, rate, per, burst in connection.execute(
        "SELECT limit_key, by_operator, concurrency, rate, per, burst FROM taskq_limits"
    ).fetchall():
        pace = None if rate is None else round(per / rate / HOUR)
        state.said[key, by_operator] = Figures(concurrency, rate, pace, burst)
    state.queue_limits = dict(
        connection.execute("SELECT queue_name, limit_key FROM taskq_queue_limits").fetchall()
    )
    state.paused = set(connection.execute("SELECT kind, name FROM taskq_pauses").fetchall())
    state.spent = dict(
        connection.execute(
            "SELECT limit_key, ceil(extract(EPOCH FROM spent_until - now()) / 3600)::integer "
            "FROM taskq_limit_rates"
        ).fetchall()
    )
    # What has gone back before it began is written there by the next claim.
    for key, tokens in connection.execute(
        "SELECT limit_key, sum(tokens)::integer FROM taskq_limit_gates WHERE tokens > 0 GROUP BY 1"
    ).fetchall():
        state.returned += [(key, 0)] * tokens
    return state


@contextmanager
def actors_of(director: psycopg.Connection, number: int) -> Iterator[list[Actor]]:
    """So many actors in the database of the director's connection."""
    director.execute(_TRIGGERS.encode())
    dsn, password = director.info.dsn, director.info.password
    with ThreadPoolExecutor(number) as pool, ExitStack() as opened:
        yield [
            Actor(
                opened.enter_context(psycopg.connect(dsn, password=password, autocommit=True)),
                director,
                actor,
                pool,
            )
            for actor in range(number)
        ]

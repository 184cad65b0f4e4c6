"""What a claim costs beside and behind other jobs: the queries as they are, without a worker."""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import psycopg

from benchmarks.figures import (
    BUSY_LOCKS,
    CLAIM,
    CLAIM_NAMED,
    DEEP_LOCK,
    FINISHED,
    FULL_LIMITS,
    LATER,
    OTHER_QUEUE,
    OWN_LOCKS,
    PLAIN,
    Medians,
)
from benchmarks.server import fresh_database
from tests.sql.crowds import hold, insert
from tests.sql.sqlc import MIGRATIONS, claim

BATCH = 100
ROUNDS = 12

Shape = Callable[[psycopg.Connection], None]


def plain(connection: psycopg.Connection) -> None:
    insert(connection, 100_000)


def finished(connection: psycopg.Connection) -> None:
    insert(connection, 1_000_000, status="'succeeded'")
    plain(connection)


def later(connection: psycopg.Connection) -> None:
    insert(connection, 1_000_000, scheduled_at="now() + interval '1 day'", due="false")
    plain(connection)


def other_queue(connection: psycopg.Connection) -> None:
    insert(connection, 1_000_000, queue="'another'")
    plain(connection)


def busy_locks(connection: psycopg.Connection) -> None:
    insert(connection, 100_000, lock="'busy ' || n % 100")
    hold(connection, "busy%")
    plain(connection)


def deep_lock(connection: psycopg.Connection) -> None:
    insert(connection, 100_000, lock="'busy'")
    hold(connection, "busy%")
    plain(connection)


def own_locks(connection: psycopg.Connection) -> None:
    insert(connection, 100_000, lock="'own ' || n")


def deep_lock_and_own_locks(connection: psycopg.Connection) -> None:
    insert(connection, 100_000, lock="'busy'")
    hold(connection, "busy%")
    own_locks(connection)


def many_queues(connection: psycopg.Connection) -> None:
    insert(connection, 100_000, queue="'q' || n % 1000")
    insert(connection, 100_000, queue="'q' || n % 1000", lock="'l' || n % 500")


def full_limits(connection: psycopg.Connection, keys: int) -> None:
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency) VALUES ('limit', false, 1)"
    )
    for _ in range(100):
        connection.execute(
            "SELECT count(*) FROM taskq_defer_jobs((SELECT jsonb_agg(jsonb_build_object("
            "'task_name', 'noop', 'limit', 'limit', 'limit_key', (n %% %s)::text)) "
            "FROM generate_series(1, 1000) AS n))",
            [keys],
        )
    # Until each key has one that runs, and claims have come once to each gate that deferring has opened.
    while connection.execute("SELECT 1 FROM taskq_limit_gates LIMIT 1").fetchone():
        claim(connection, max_jobs=1000)
    plain(connection)


SHAPES: dict[str, Shape] = {
    PLAIN: plain,
    FINISHED: finished,
    LATER: later,
    OTHER_QUEUE: other_queue,
    BUSY_LOCKS: busy_locks,
    DEEP_LOCK: deep_lock,
    OWN_LOCKS: own_locks,
    "one busy lock 100k deep, 100k with their own": deep_lock_and_own_locks,
    "200k in 1,000 queues, half of them locked": many_queues,
    **{name: partial(full_limits, keys=keys) for keys, name in FULL_LIMITS.items()},
}


def shapes(server: str) -> Medians:
    """The median milliseconds of a claim in each shape, from all queues and from one that is named."""
    found: Medians = {CLAIM: {}, CLAIM_NAMED: {}}
    for name, shape in SHAPES.items():
        with (
            fresh_database(server, "benchmark_shapes") as url,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            for path in MIGRATIONS:
                connection.execute(path.read_bytes())
            shape(connection)
            connection.execute("VACUUM ANALYZE taskq_jobs, taskq_open_gates, taskq_limit_gates")
            # As a worker's session is.
            connection.execute("SET jit = off")
            connection.execute("SET plan_cache_mode = force_generic_plan")
            connection.prepare_threshold = 0
            for figure, queue_names in ((CLAIM, None), (CLAIM_NAMED, ["default"])):
                found[figure][name] = median(
                    _milliseconds(connection, queue_names) for _ in range(ROUNDS)
                )
    return found


def _milliseconds(connection: psycopg.Connection, queue_names: list[str] | None) -> float:
    began = perf_counter()
    claim(connection, queue_names=queue_names, max_jobs=BATCH)
    return (perf_counter() - began) * 1000

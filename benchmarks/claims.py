"""What a claim costs beside and behind other jobs, and what a job costs in its life.

    python -m benchmarks.claims [URL]

runs the queries as they are, without a worker, on the server that URL names, as a user who may
create databases, or on an embedded one with its default durability. Machines are noisy: compare
within one run.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from taskq.embedded import EmbeddedServer
from tests.sql.crowds import hold, insert
from tests.sql.sqlc import MIGRATIONS, NO_MARKS, Query, read_queries

BATCH = 100
ROUNDS = 12
LIFE = 30_000

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


SHAPES: dict[str, Shape] = {
    "100k ready jobs, nothing else": plain,
    "1 M finished beside them": finished,
    "1 M for later ahead of them": later,
    "1 M of another queue ahead of them": other_queue,
    "100k over 100 busy locks ahead of them": busy_locks,
    "one busy lock 100k deep ahead of them": deep_lock,
    "100k, each its own lock": own_locks,
    "one busy lock 100k deep, 100k with their own": deep_lock_and_own_locks,
    "200k in 1,000 queues, half of them locked": many_queues,
}


@contextmanager
def fresh_database(server: str) -> Iterator[psycopg.Connection]:
    """A database with the schema, and a connection set up as a worker's is."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS taskq_benchmark")
        admin.execute("CREATE DATABASE taskq_benchmark")
        try:
            conninfo = make_conninfo(server, dbname="taskq_benchmark")
            with psycopg.connect(conninfo, autocommit=True) as connection:
                for path in MIGRATIONS:
                    connection.execute(path.read_bytes())
                connection.execute("SET jit = off")
                connection.execute("SET plan_cache_mode = force_generic_plan")
                connection.prepare_threshold = 0
                yield connection
        finally:
            admin.execute("DROP DATABASE taskq_benchmark")


def claim_costs(server: str, claim: Query, shape: Shape) -> list[float]:
    """The median milliseconds of claims from all queues, and from one that is named."""
    with fresh_database(server) as connection:
        shape(connection)
        connection.execute("VACUUM ANALYZE taskq_jobs, taskq_locks")
        medians = []
        for queue_names in (None, ["default"]):
            costs = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                claim.run(
                    connection, queue_names=queue_names, max_jobs=BATCH, worker_id=1, **NO_MARKS
                )
                costs.append((time.perf_counter() - start) * 1000)
            medians.append(statistics.median(costs))
        return medians


def life(server: str, queries: dict[str, Query]) -> Iterator[tuple[str, float, float]]:
    """Jobs per second and bytes of WAL per job: deferred in batches, then drained in batches."""
    with fresh_database(server) as connection:

        def wal() -> float:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
            assert row
            return float(row[0])

        def measured(step: Callable[[], None]) -> tuple[float, float]:
            before, start = wal(), time.perf_counter()
            step()
            return LIFE / (time.perf_counter() - start), (wal() - before) / LIFE

        def defer() -> None:
            jobs = json.dumps([{"task_name": "noop", "args": {"n": n}} for n in range(3000)])
            for _ in range(LIFE // 3000):
                queries["DeferJobs"].run(
                    connection, on_conflict="raise", share_notification=False, jobs=jobs
                )

        def drain() -> None:
            claim = {"queue_names": None, "max_jobs": BATCH, "worker_id": 1} | NO_MARKS
            while jobs := queries["ClaimJobs"].run(connection, **claim):
                outcomes = [
                    {"job_id": job["id"], "attempt": job["attempt"], "status": "succeeded"}
                    for job in jobs
                ]
                queries["FinishJobs"].run(connection, worker_id=1, outcomes=json.dumps(outcomes))

        connection.execute("CHECKPOINT")
        yield ("defer, 3,000 at once", *measured(defer))
        yield (f"claim and finish, {BATCH} at once", *measured(drain))


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskq-benchmark-")))
        folder.chmod(0o711)
        queries = read_queries()
        given = sys.argv[1:]
        server = given[0] if given else stack.enter_context(EmbeddedServer(folder / "server")).url
        server = server.replace("+psycopg", "", 1)
        with psycopg.connect(server) as connection:
            print(f"PostgreSQL {connection.info.server_version // 10000}\n")

        print(f"{f'a claim of {BATCH}, ms':46} {'all queues':>10} {'one named':>10} {'ratio':>6}")
        base: list[float] = []
        for name, shape in SHAPES.items():
            costs = claim_costs(server, queries["ClaimJobs"], shape)
            base = base or costs
            print(f"{name:46} {costs[0]:10.1f} {costs[1]:10.1f} {costs[0] / base[0]:6.1f}")

        print(f"\n{'a job':46} {'jobs/s':>10} {'WAL bytes':>10}")
        for step, rate, wal in life(server, queries):
            print(f"{step:46} {rate:10,.0f} {wal:10.0f}")


if __name__ == "__main__":
    main()

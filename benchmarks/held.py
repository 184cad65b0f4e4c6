"""Claims while another transaction is left open: what it could see, nobody may remove.

The entries of jobs that are long claimed stay in the index of ready jobs, and a claim from the start
walks over them. It is the worker's own producer that is measured, with what it remembers; the jobs end
at once, unrun, so that nothing but claims takes time while a claim is timed.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from statistics import median
from time import perf_counter

import psycopg

from benchmarks.figures import HELD, Medians
from benchmarks.server import fresh_database
from taskq import App, queries
from taskq.job import Job, JobStatus
from taskq.outcome import Outcome
from taskq.queries.session import prepare_session
from taskq.worker.connection import WorkerConnection
from taskq.worker.connections import TUNED
from taskq.worker.producer import Producer
from taskq.worker.registration import Registration

BATCH = 100
PASSED = 200_000


def held(server: str) -> Medians:
    """The median milliseconds of the first and of the last claims of 100, while 200k jobs pass."""
    with fresh_database(server, "benchmark_held") as url:
        with App(url) as app:
            app.schema_manager.apply_schema()
        with (
            psycopg.connect(url, autocommit=True) as filling,
            psycopg.connect(url) as open_transaction,
        ):
            filling.execute(
                "INSERT INTO taskq_jobs (task_name, args, queue_name)"
                " SELECT 'noop', '{}', 'default' FROM generate_series(1, %s)",
                [PASSED + 20 * BATCH],
            )
            filling.execute("VACUUM ANALYZE taskq_jobs")
            # Its snapshot is kept to the end of the transaction.
            open_transaction.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            open_transaction.execute("SELECT")
            took = asyncio.run(_pass(url))
    few = len(took) // 20
    return {HELD: {"at first": median(took[:few]), "after 200k jobs": median(took[-few:])}}


async def _pass(url: str) -> list[float]:
    """Milliseconds of each claim, one after the other."""
    took: list[float] = []
    claimed: asyncio.Queue[Sequence[Job]] = asyncio.Queue()
    wanted = BATCH
    began = 0.0

    def deliver(jobs: Sequence[Job]) -> None:
        nonlocal wanted
        took.append((perf_counter() - began) * 1000)
        wanted = 0
        claimed.put_nowait(jobs)

    async with App(url) as app:
        engine = app.database.async_engine
        prepare = partial(prepare_session, settings=TUNED)
        connections = [
            WorkerConnection(engine, purpose, telemetry=app.telemetry, prepare=prepare)
            for purpose in ("c", "f")
        ]
        row = await connections[1].run(queries.workers.register_worker, "benchmark", None, BATCH)
        registration = Registration("benchmark", None, row)
        producer = Producer(
            connections[0],
            registration,
            polling_interval=60,
            telemetry=app.telemetry,
            capacity=lambda: wanted,
            run_length=lambda: 1,
            deliver=deliver,
        )
        producer.start(lambda error: None)
        while len(took) < PASSED // BATCH:
            began, wanted = perf_counter(), BATCH
            producer.wake()
            outcomes = [
                Outcome(job_id=job.id, claim=job.claim, status=JobStatus.SUCCEEDED)
                for job in await claimed.get()
            ]
            await connections[1].run(queries.job_finish.finish_jobs, registration.id, outcomes)
        await producer.stop()
        for connection in connections:
            await connection.close()
    return took

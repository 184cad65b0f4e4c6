"""Runs the soak: the load, the worker, the transaction that is left open, and the measuring."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg

from tests.soak.measuring import Phase, Sample, sample
from tests.soak.shop import app, defer_some
from tests.soak.worker import KEPT
from tests.stress.server import own_server

ROOT = Path(__file__).parents[2]

Say = Callable[[str], None]


def soak(
    *, warm_up: float, held: float, after: float, rate: float, kept: float | None, say: Say
) -> list[Phase]:
    """Run it.

    Args:
        warm_up: Seconds before anything is judged.
        held: Seconds for which a transaction is open.
        after: Seconds after that: a while in which what it kept is removed, and then twice as long as that
            for what is judged.
        rate: Jobs a second that are deferred.
        kept: Seconds for which jobs are kept; None: for ever.
        say: Told of each phase.

    Returns:
        The phases: ``warm-up``, ``held``, ``cleared`` and ``after``.
    """
    with ExitStack() as stack:
        url, _ = stack.enter_context(own_server())
        libpq = url.replace("+psycopg", "")
        connection = stack.enter_context(psycopg.connect(libpq, autocommit=True))
        # Vacuum once a minute is what servers have: for a short form that is once.
        naptime = max(1, min(60, int(warm_up / 10)))
        connection.execute(f"ALTER SYSTEM SET autovacuum_naptime = {naptime}".encode())
        connection.execute("SELECT pg_reload_conf()")
        log = stack.enter_context(tempfile.TemporaryFile())
        environment = os.environ | {"TASKQ_DATABASE_URL": url}
        if kept is not None:
            environment[KEPT] = str(kept)
        worker = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak.worker"], cwd=ROOT, env=environment, stderr=log
            )
        )
        try:
            return asyncio.run(
                _Soak(url, libpq, connection, worker, rate, say).run(warm_up, held, after)
            )
        finally:
            worker.terminate()
            with suppress(subprocess.TimeoutExpired):
                worker.wait(30)
            worker.kill()


class _Soak:
    def __init__(
        self,
        url: str,
        libpq: str,
        connection: psycopg.Connection,
        worker: "subprocess.Popen[bytes]",
        rate: float,
        say: Say,
    ) -> None:
        self._url = url
        self._libpq = libpq
        self._connection = connection
        self._worker = worker
        self._rate = rate
        self._say = say
        self._began = time.monotonic()
        self._deferred = 0

    async def run(self, warm_up: float, held: float, after: float) -> list[Phase]:
        with app.replace_database(self._url):
            deferring = asyncio.create_task(self._defer())
            try:
                phases = [await self._phase("warm-up", warm_up)]
                with psycopg.connect(self._libpq) as open_one:
                    # A snapshot is what holds vacuum back.
                    open_one.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    open_one.execute("SELECT count(*) FROM taskq_jobs")
                    phases.append(await self._phase("held", held))
                phases.append(await self._phase("cleared", after / 3))
                phases.append(await self._phase("after", 2 * after / 3))
            finally:
                deferring.cancel()
                with suppress(asyncio.CancelledError):
                    await deferring
        return phases

    async def _defer(self) -> None:
        began = time.monotonic()
        calls = 0
        while True:
            self._deferred += await defer_some(self._deferred)
            calls += 1
            await asyncio.sleep(began + calls * 10 / self._rate - time.monotonic())

    async def _phase(self, name: str, seconds: float) -> Phase:
        until = time.monotonic() + seconds
        samples: list[Sample] = []
        while not samples or time.monotonic() < until:
            assert self._worker.poll() is None, "the worker has ended"
            at = time.monotonic() - self._began
            deferred = self._deferred
            samples.append(
                await asyncio.to_thread(sample, self._connection, at, deferred, self._worker.pid)
            )
            await asyncio.sleep(max(0.25, seconds / 200))
        phase = Phase(name, samples)
        self._say(str(phase))
        return phase

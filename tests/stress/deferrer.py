"""A process that defers jobs at random: singly and in batches, by themselves and in transactions."""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg

from taskq.deferrer import Deferrer
from tests.stress.children import answer, commands
from tests.stress.scripts import Arguments, Options, draw_arguments, draw_options
from tests.stress.tasks import URL_VARIABLE, work, work_in_a_thread

_LONGEST_BATCH = 15
_LONGEST_TRANSACTION = 0.3  # seconds
_SHARE_OF_ROLLBACKS = 0.2
_THREADS = 2

Draw = Callable[[], Options]


def main() -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        for command in commands():
            done = [
                threads.submit(_defer_all, f"{command['seed']} thread {n}", command)
                for n in range(_THREADS)
            ]
            answer(jobs=sum(future.result() for future in done))


def _defer_all(seed: str, command: dict[str, float]) -> int:
    """Defer about so many jobs in about so many seconds; returns how many."""
    rng = random.Random(seed)
    wanted, seconds = int(command["jobs"]) // _THREADS, command["seconds"]
    draw = partial(draw_options, rng, latest=command["latest"])
    deferred = 0
    began = time.monotonic()
    url = os.environ[URL_VARIABLE].replace("+psycopg", "", 1)
    with psycopg.connect(url) as connection:
        while deferred < wanted:
            way = rng.choices(
                (_alone, _as_a_batch, _at_once, _by_sql, _in_a_transaction), (4, 2, 2, 2, 3)
            )
            deferred += way[0](rng, draw, connection)
            ahead = seconds * deferred / wanted - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(rng.uniform(0, 2) * ahead)
    return deferred


def _deferrer(rng: random.Random, draw: Draw) -> Deferrer[..., int]:
    task = rng.choice((work, work, work_in_a_thread))
    return task.configure(**draw())


def _calls(rng: random.Random) -> list[Arguments]:
    return [draw_arguments(rng) for _ in range(rng.randint(2, _LONGEST_BATCH))]


def _alone(rng: random.Random, draw: Draw, _: psycopg.Connection) -> int:
    _deferrer(rng, draw).defer(**draw_arguments(rng))
    return 1


def _as_a_batch(rng: random.Random, draw: Draw, _: psycopg.Connection) -> int:
    return len(_deferrer(rng, draw).batch_defer(*_calls(rng)))


def _at_once(rng: random.Random, draw: Draw, _: psycopg.Connection) -> int:
    """Calls under way at the same time, which share statements, and of which one notifies for all."""

    async def defer() -> int:
        async with asyncio.TaskGroup() as group:
            calls = _calls(rng)
            for call in calls:
                group.create_task(_deferrer(rng, draw).defer_async(**call))
        return len(calls)

    return asyncio.run(defer())


def _by_sql(rng: random.Random, draw: Draw, connection: psycopg.Connection) -> int:
    """As another language would, in a transaction that may roll back."""

    def defer() -> int:
        jobs = [_as_json(call, draw()) for call in _calls(rng)]
        connection.execute("SELECT taskq_defer_jobs(%s::jsonb)", [json.dumps(jobs)])
        return len(jobs)

    return _open_for_a_while(rng, connection, defer)


def _as_json(call: Arguments, options: Options) -> dict[str, object]:
    later = options["schedule_in"]
    return {
        "task_name": work.name,
        "args": call,
        "queue_name": options["queue"],
        "priority": options["priority"],
        "lock": options["lock"],
        "schedule_in": later and later.total_seconds(),
    }


def _in_a_transaction(rng: random.Random, draw: Draw, connection: psycopg.Connection) -> int:
    """Several calls, in a transaction that may roll back."""

    def defer() -> int:
        calls = _calls(rng)[:4]
        for call in calls:
            _deferrer(rng, draw).configure(connection=connection).defer(**call)
            time.sleep(rng.uniform(0, _LONGEST_TRANSACTION / 5))
        return len(calls)

    return _open_for_a_while(rng, connection, defer)


def _open_for_a_while(
    rng: random.Random, connection: psycopg.Connection, change: Callable[[], int]
) -> int:
    with connection.transaction(force_rollback=rng.random() < _SHARE_OF_ROLLBACKS):
        changed = change()
        time.sleep(rng.choice((0, rng.uniform(0, _LONGEST_TRANSACTION))))
    return changed


if __name__ == "__main__":
    main()

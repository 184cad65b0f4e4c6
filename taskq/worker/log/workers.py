"""The log of workers."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from taskq import telemetry
from taskq.escaping import get_logger
from taskq.job import Job
from taskq.messages import first_line, short_repr
from taskq.worker.error_text import in_a_line
from taskq.worker.options import ENVIRONMENT_PREFIX

WORKER: Final = get_logger("taskq.worker")
CONNECTION: Final = get_logger("taskq.worker.connection")
EVENT_LOOP: Final = get_logger("taskq.worker.event_loop")
HEARTBEAT: Final = get_logger("taskq.worker.heartbeat")
LOOP_MONITOR: Final = get_logger("taskq.worker.loop_monitor")
SERVICE: Final = get_logger("taskq.worker.service")
LIMITS: Final = get_logger("taskq.worker.limit_declarer")
UNKNOWN_NAMES: Final = get_logger("taskq.worker.unknown_names")

_JOBS_SHOWN = 5


class _OfWorker(Protocol):
    @property
    def worker_id(self) -> int: ...


class _OfConnection(Protocol):
    @property
    def purpose(self) -> str: ...


def subscribe(to: telemetry.Telemetry) -> None:
    """Have the events of workers logged."""
    to.subscribe(telemetry.WorkerStarted, worker_started)
    to.subscribe(telemetry.WorkerServesHttp, worker_serves_http)
    to.subscribe(telemetry.WorkerOnlyPolls, worker_only_polls)
    to.subscribe(telemetry.WorkerRegisteredAgain, worker_registered_again)
    to.subscribe(telemetry.WorkerStopping, worker_stopping)
    to.subscribe(telemetry.WorkerStopped, worker_stopped)
    to.subscribe(telemetry.WorkerLeftEarly, worker_left_early)
    to.subscribe(telemetry.WorkerUnregisterFailed, worker_unregister_failed)
    to.subscribe(telemetry.WorkerBroken, worker_broken)
    to.subscribe(telemetry.ThreadLeftBehind, thread_left_behind)
    to.subscribe(telemetry.QueueUnknown, queue_unknown)
    to.subscribe(telemetry.VariableUnknown, variable_unknown)
    to.subscribe(telemetry.LimitChanged, limit_changed)
    to.subscribe(telemetry.HeartbeatOverdue, heartbeat_overdue)
    to.subscribe(telemetry.HeartbeatWithheld, heartbeat_withheld)
    to.subscribe(telemetry.LoopBlocked, loop_blocked)
    to.subscribe(telemetry.LoopUnblocked, loop_unblocked)
    to.subscribe(telemetry.LoopInterrupted, loop_interrupted)
    to.subscribe(telemetry.DatabaseFailed, database_failed)
    to.subscribe(telemetry.DatabaseFailing, database_failing)
    to.subscribe(telemetry.DatabaseRecovered, database_recovered)


def worker_started(event: telemetry.WorkerStarted) -> None:
    WORKER.info(
        "worker %s (%s) has started, for %s",
        event.worker_id,
        event.worker_name,
        "all queues" if event.queues is None else f"queues {event.queues}",
        extra=_of_worker("worker_started", event),
    )


def worker_serves_http(event: telemetry.WorkerServesHttp) -> None:
    WORKER.info(
        "the worker %s answers /livez, /readyz and /metrics at %s, port %s",
        event.worker_name,
        event.host,
        event.port,
        extra={"action": "worker_serves_http", "host": event.host, "port": event.port},
    )


def worker_only_polls(event: telemetry.WorkerOnlyPolls) -> None:
    WORKER.warning(
        "worker %s hears of nothing through a pooler, and looks for jobs every %g s: name the server "
        "itself in listen_database, or say listen_notify=False",
        event.worker_id,
        event.interval,
        extra=_of_worker("worker_only_polls", event),
    )


def worker_registered_again(event: telemetry.WorkerRegisteredAgain) -> None:
    HEARTBEAT.warning(
        "worker %s was taken for dead, or the database is not what it was: it lets its jobs go, and has "
        "registered again as worker %s",
        event.former_worker_id,
        event.worker_id,
        extra={
            **_of_worker("worker_registered_again", event),
            "former_worker_id": event.former_worker_id,
        },
    )


def worker_stopping(event: telemetry.WorkerStopping) -> None:
    WORKER.info(
        "worker %s stops",
        event.worker_id,
        extra=_of_worker("worker_stopping", event),
    )


def worker_stopped(event: telemetry.WorkerStopped) -> None:
    WORKER.info(
        "worker %s has stopped",
        event.worker_id,
        extra=_of_worker("worker_stopped", event),
    )


def worker_left_early(event: telemetry.WorkerLeftEarly) -> None:
    WORKER.warning(
        "worker %s leaves, and the ends of some jobs could not be written: another worker will run them "
        "again",
        event.worker_id,
        extra=_of_worker("worker_left_early", event),
    )


def worker_unregister_failed(event: telemetry.WorkerUnregisterFailed) -> None:
    HEARTBEAT.warning(
        "worker %s could not unregister, and will be taken for dead",
        event.worker_id,
        extra=_of_worker("worker_unregister_failed", event),
    )


def worker_broken(event: telemetry.WorkerBroken) -> None:
    WORKER.critical(
        "a service of worker %s broke, which is a bug of taskq: the worker leaves at once",
        event.worker_id,
        exc_info=event.error,
        extra=_of_worker("worker_broken", event),
    )


def thread_left_behind(event: telemetry.ThreadLeftBehind) -> None:
    SERVICE.warning(
        "the thread of %s does not end, and is left behind",
        event.service,
        extra={"action": "thread_left_behind"},
    )


def queue_unknown(event: telemetry.QueueUnknown) -> None:
    UNKNOWN_NAMES.warning(
        "no task of this app defers to the queue %s, and no job that is kept is in it%s",
        short_repr(event.queue),
        f": did you mean {short_repr(event.meant)}?" if event.meant is not None else "",
        extra={"action": "queue_unknown", "queue": event.queue},
    )


def limit_changed(event: telemetry.LimitChanged) -> None:
    LIMITS.warning(
        "%s is declared with %s, and was with %s by worker %s: what was declared last holds for all workers",
        event.what,
        event.said,
        event.former,
        short_repr(event.former_by),
        extra={
            "action": "limit_changed",
            "worker_id": event.worker_id,
            "former_worker_name": event.former_by,
        },
    )


def variable_unknown(event: telemetry.VariableUnknown) -> None:
    UNKNOWN_NAMES.warning(
        "the variable %s has no effect, as a worker has no option %s%s",
        short_repr(event.variable),
        short_repr(event.variable.removeprefix(ENVIRONMENT_PREFIX).lower()),
        f": did you mean {event.meant}?" if event.meant is not None else "",
        extra={"action": "variable_unknown", "variable": event.variable},
    )


def heartbeat_overdue(event: telemetry.HeartbeatOverdue) -> None:
    HEARTBEAT.warning(
        "no heartbeat for %.1f s: other workers are about to take this one for dead, so it begins "
        "nothing, and aborts what runs, until a heartbeat succeeds",
        event.seconds,
        extra=_of_worker("heartbeat_overdue", event),
    )


def heartbeat_withheld(event: telemetry.HeartbeatWithheld) -> None:
    HEARTBEAT.error(
        "worker %s says no more that it is alive, so that others take over its jobs: %s",
        event.worker_id,
        event.obstacle,
        extra=_of_worker("heartbeat_withheld", event),
    )


def loop_blocked(event: telemetry.LoopBlocked) -> None:
    LOOP_MONITOR.warning(
        "the event loop of worker %s has not turned for %.1f s, as %s blocks it",
        event.worker_id,
        event.seconds,
        _named(event.jobs),
        extra={**_of_loop("loop_blocked", event), "stack": event.stack, "duration": event.seconds},
    )


def loop_unblocked(event: telemetry.LoopUnblocked) -> None:
    LOOP_MONITOR.warning(
        "the event loop of worker %s turns again: %s blocked it for %.1f s",
        event.worker_id,
        _named(event.jobs),
        event.seconds,
        extra={**_of_loop("loop_unblocked", event), "duration": event.seconds},
    )


def loop_interrupted(event: telemetry.LoopInterrupted) -> None:
    EVENT_LOOP.error(
        "the event loop of worker %s was ended by a task or a callback, which %s started, and goes on: %s",
        event.worker_id,
        _named(event.jobs),
        in_a_line(event.error),
        exc_info=event.error,
        extra=_of_loop("loop_interrupted", event),
    )


def database_failed(event: telemetry.DatabaseFailed) -> None:
    CONNECTION.warning(
        "%s: the database failed, trying again: %s",
        event.purpose,
        first_line(event.error),
        extra=_of_connection("database_failed", event),
    )


def database_failing(event: telemetry.DatabaseFailing) -> None:
    CONNECTION.error(
        "%s: the database has failed for %.0f s: %s",
        event.purpose,
        event.seconds,
        first_line(event.error),
        extra=_of_connection("database_failing", event),
    )


def database_recovered(event: telemetry.DatabaseRecovered) -> None:
    CONNECTION.info(
        "%s: the database answers again",
        event.purpose,
        extra=_of_connection("database_recovered", event),
    )


def _of_worker(action: str, event: _OfWorker) -> dict[str, Any]:
    return {"action": action, "worker_id": event.worker_id}


def _of_loop(
    action: str,
    event: telemetry.LoopBlocked | telemetry.LoopUnblocked | telemetry.LoopInterrupted,
) -> dict[str, Any]:
    return {
        **_of_worker(action, event),
        "worker_name": event.worker_name,
        "job_ids": [job.id for job in event.jobs],
        "task_names": [job.task_name for job in event.jobs],
    }


def _of_connection(action: str, event: _OfConnection) -> dict[str, Any]:
    return {"action": action, "purpose": event.purpose}


def _named(jobs: Sequence[Job]) -> str:
    """The jobs of which one did something."""
    names = [f"job {job.id} ({short_repr(job.task_name)})" for job in jobs[:_JOBS_SHOWN]]
    if len(jobs) > _JOBS_SHOWN:
        names.append(f"one of {len(jobs) - _JOBS_SHOWN} more")
    return " or ".join(names) or "something"

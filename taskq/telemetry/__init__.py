"""Telemetry: what happens in workers and where jobs are deferred, one event per thing, for subscribers of
``app.telemetry``.

The log is the first subscriber. Events carry values and no text, and what has the same name is the same in
all of them:

* ``job``: the job as it was claimed, with its id, task, queue and attempt.
* ``worker_id``, ``worker_name``: the worker that tells it.
* ``seconds``: how long it took.
* ``error``: what was raised. It holds the frames of its traceback, so do not keep it.
* ``purpose``: which of the worker's connections it is, such as ``claims`` or ``heartbeat``.

A subscriber is called when and where it happens: in the thread of the worker's event loop, or in the
heartbeat's for what is found out there. Handed to an event loop that is blocked, that would come too late.
"""

from taskq.outcome import Ending, Outcome
from taskq.telemetry.deferral import Deferral
from taskq.telemetry.jobs import (
    JobAborted,
    JobEnded,
    JobFailed,
    JobFailedAfterCommit,
    JobGivenBack,
    JobLost,
    JobOffered,
    JobReleased,
    JobRescued,
    JobRetried,
    JobsClaimed,
    JobsDeferred,
    JobsDeferring,
    JobSnoozed,
    JobsNotDeferred,
    JobsPruned,
    JobStarted,
    JobSucceeded,
    JobSuspected,
    JobTaken,
    JobUnknown,
    OutcomeRefused,
    OutcomesWritten,
    OutcomeUnwritable,
    PeriodicDeferred,
    PeriodicNotDeferred,
)
from taskq.telemetry.telemetry import Event, Telemetry
from taskq.telemetry.workers import (
    DatabaseFailed,
    DatabaseFailing,
    DatabaseRecovered,
    HeartbeatOverdue,
    HeartbeatWithheld,
    HeartbeatWritten,
    LimitChanged,
    LoopBlocked,
    LoopInterrupted,
    LoopUnblocked,
    QueueUnknown,
    ThreadLeftBehind,
    VariableUnknown,
    WorkerBroken,
    WorkerLeftEarly,
    WorkerOnlyPolls,
    WorkerRegisteredAgain,
    WorkerServesHttp,
    WorkerStarted,
    WorkerStopped,
    WorkerStopping,
    WorkerUnregisterFailed,
)

__all__ = [
    "DatabaseFailed",
    "DatabaseFailing",
    "DatabaseRecovered",
    "Deferral",
    "Ending",
    "Event",
    "HeartbeatOverdue",
    "HeartbeatWithheld",
    "HeartbeatWritten",
    "JobAborted",
    "JobEnded",
    "JobFailed",
    "JobFailedAfterCommit",
    "JobGivenBack",
    "JobLost",
    "JobOffered",
    "JobReleased",
    "JobRescued",
    "JobRetried",
    "JobSnoozed",
    "JobStarted",
    "JobSucceeded",
    "JobSuspected",
    "JobTaken",
    "JobUnknown",
    "JobsClaimed",
    "JobsDeferred",
    "JobsDeferring",
    "JobsNotDeferred",
    "JobsPruned",
    "LimitChanged",
    "LoopBlocked",
    "LoopInterrupted",
    "LoopUnblocked",
    "Outcome",
    "OutcomeRefused",
    "OutcomeUnwritable",
    "OutcomesWritten",
    "PeriodicDeferred",
    "PeriodicNotDeferred",
    "QueueUnknown",
    "Telemetry",
    "ThreadLeftBehind",
    "VariableUnknown",
    "WorkerBroken",
    "WorkerLeftEarly",
    "WorkerOnlyPolls",
    "WorkerRegisteredAgain",
    "WorkerServesHttp",
    "WorkerStarted",
    "WorkerStopped",
    "WorkerStopping",
    "WorkerUnregisterFailed",
]

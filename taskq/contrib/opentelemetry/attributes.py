"""The names in spans: OpenTelemetry's semantic conventions for messaging, which are in development."""

from typing import Final

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
MESSAGE_COUNT: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"
FUNCTION: Final = "code.function.name"

# What is a system's own is called by it.
TASK: Final = "messaging.taskq.task.name"
ATTEMPT: Final = "messaging.taskq.job.attempt"
ENDING: Final = "messaging.taskq.job.ending"
WAIT_TIME: Final = "messaging.taskq.job.wait_time"
WORKER: Final = "messaging.taskq.worker.name"

TASKQ: Final = "taskq"
CREATE: Final = "create"
PUBLISH: Final = "publish"
SEND: Final = "send"
PROCESS: Final = "process"

"""How the queue is: what the server says of taskq's tables, its sessions, and its traffic."""

from collections.abc import Sequence

from taskq.queries.connection import Connection, on_any
from taskq_sql import doctor

_querier = on_any(doctor.Querier)

# Under names of taskq's own, so that readers need not know the generated ones.
NotificationQueue = doctor.GetNotificationQueueRow
IndexState = doctor.ListIndexesRow
LongChain = doctor.ListLongChainsRow
PreparedTransaction = doctor.ListPreparedTransactionsRow
ReplicationSlot = doctor.ListReplicationSlotsRow
Snapshot = doctor.ListSnapshotsRow
StuckRow = doctor.ListStuckRowsRow
StalledWorker = doctor.ListStalledWorkersRow
TableState = doctor.ListTablesRow
TaskNotKnown = doctor.ListTasksNotFoundRow
WaitingQueue = doctor.ListWaitingQueuesRow
WaitingTask = doctor.ListWaitingTasksRow


def list_snapshots(connection: Connection, held_for: float) -> Sequence[Snapshot]:
    """The transactions, open for some seconds or more, that keep dead rows from being removed."""
    return list(_querier(connection).list_snapshots(held_for=held_for))


def can_see_sessions(connection: Connection) -> bool:
    """Whether the server shows what other users' sessions do."""
    [allowed] = _querier(connection).can_see_sessions()
    return allowed


def list_prepared_transactions(
    connection: Connection, held_for: float
) -> Sequence[PreparedTransaction]:
    """The transactions that were prepared some seconds ago or more, and not ended."""
    return list(_querier(connection).list_prepared_transactions(held_for=held_for))


def list_replication_slots(connection: Connection) -> Sequence[ReplicationSlot]:
    """The replication slots that keep dead rows from being removed."""
    return list(_querier(connection).list_replication_slots())


def list_tables(connection: Connection) -> Sequence[TableState]:
    """taskq's tables: their rows, their size, and when they were vacuumed."""
    return list(_querier(connection).list_tables())


def list_indexes(connection: Connection) -> Sequence[IndexState]:
    """The indexes of taskq's tables."""
    return list(_querier(connection).list_indexes())


def get_notification_queue(connection: Connection) -> NotificationQueue:
    """How full the server's queue of notifications is, and who may keep it from emptying."""
    [row] = _querier(connection).get_notification_queue()
    return row


def list_stalled_workers(connection: Connection, stalled_after: float) -> Sequence[StalledWorker]:
    """The workers whose last heartbeat is some seconds old or more, and those without a row."""
    return list(_querier(connection).list_stalled_workers(stalled_after=stalled_after))


def list_waiting_queues(connection: Connection, stalled_after: float) -> Sequence[WaitingQueue]:
    """The queues with jobs that could run, for how long they wait, and who serves them."""
    return list(_querier(connection).list_waiting_queues(stalled_after=stalled_after))


def list_stuck_rows(connection: Connection) -> Sequence[StuckRow]:
    """The rows that wait for ever, or make others wait, by what is wrong with them."""
    return list(_querier(connection).list_stuck_rows())


def list_long_chains(connection: Connection, min_jobs: int) -> Sequence[LongChain]:
    """The locks behind which most jobs wait, if they are so many."""
    return list(_querier(connection).list_long_chains(min_jobs=min_jobs))


def list_waiting_tasks(connection: Connection) -> Sequence[WaitingTask]:
    """The tasks whose jobs wait."""
    return list(_querier(connection).list_waiting_tasks())


def list_tasks_not_found(connection: Connection, since: float) -> Sequence[TaskNotKnown]:
    """The tasks that a worker did not know in the last so many seconds."""
    return list(_querier(connection).list_tasks_not_found(since=since))

"""How the queue is: what the server says of taskq's tables, its sessions, and its traffic."""

from collections.abc import Callable

from taskq.queries.connection import Connection, on_any
from taskq_sql import doctor

DoctorQueries = doctor.Querier
doctor_queries: Callable[[Connection], doctor.Querier] = on_any(doctor.Querier)

# Under names of taskq's own, so that readers need not know the generated ones.
IndexState = doctor.ListIndexesRow
PreparedTransaction = doctor.ListPreparedTransactionsRow
ReplicationSlot = doctor.ListReplicationSlotsRow
Snapshot = doctor.ListSnapshotsRow
TableState = doctor.ListTablesRow
TaskNotKnown = doctor.ListTasksNotFoundRow
UnsaidLimit = doctor.ListUnsaidLimitsRow
WaitingQueue = doctor.ListWaitingQueuesRow
WaitingTask = doctor.ListWaitingTasksRow

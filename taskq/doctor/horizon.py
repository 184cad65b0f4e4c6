"""What keeps dead rows from being removed: the oldest snapshot that a session may still use.

Each claim and each end of a job leaves a dead row behind. While a transaction may still see it no vacuum
removes it, and the next claims walk over it.
"""

from collections.abc import Iterator

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.times import brief

_CRITICAL = 12  # times what a transaction may

# A standby's snapshot moves on as its queries end; this many transactions behind, it does not.
_SLOT_BEHIND = 100_000

_STANDBY = "end the long queries of that standby, or set hot_standby_feedback = off there"


def check(context: CheckContext) -> Iterator[Finding]:
    """Find sessions, prepared transactions and replication slots that hold the horizon."""
    held = context.thresholds.held
    for snapshot in context.queries.list_snapshots(held_for=held):
        yield _session(snapshot, critical=snapshot.seconds >= _CRITICAL * held)
    for prepared in context.queries.list_prepared_transactions(held_for=held):
        yield _prepared(prepared)
    for slot in context.queries.list_replication_slots():
        if slot.transactions >= _SLOT_BEHIND:
            yield _slot(slot)
    [can_see_sessions] = context.queries.can_see_sessions()
    if not can_see_sessions:
        yield Finding(
            severity=Severity.NOTE,
            what="the server does not show this user what the sessions of others do",
            remedy="GRANT pg_read_all_stats to the user that runs doctor",
        )


def _session(snapshot: queries.doctor.Snapshot, *, critical: bool) -> Finding:
    who = (
        f"{'the standby' if snapshot.backend_type == 'walsender' else 'session'} {snapshot.pid} of "
        f"user {snapshot.user_name!r} (application {snapshot.application_name!r}"
        f"{', ' + snapshot.state if snapshot.state else ''})"
    )
    remedy = (
        _STANDBY
        if snapshot.backend_type == "walsender"
        else f"end its transaction, or call pg_terminate_backend({snapshot.pid}); "
        "idle_in_transaction_session_timeout keeps it from coming back"
    )
    return Finding(
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        what=f"{who} has been in one transaction for {brief(snapshot.seconds)}: no row that died in "
        f"the last {snapshot.transactions:,} transactions can be removed. It says: {snapshot.statement}",
        remedy=remedy,
        statements=[]
        if snapshot.backend_type == "walsender"
        else [f"SELECT pg_terminate_backend({snapshot.pid})"],
        facts={
            "pid": snapshot.pid,
            "user": snapshot.user_name,
            "application": snapshot.application_name,
            "state": snapshot.state,
            "seconds": snapshot.seconds,
            "transactions": snapshot.transactions,
            "query": snapshot.statement,
        },
    )


def _prepared(prepared: queries.doctor.PreparedTransaction) -> Finding:
    gid = "'" + prepared.gid.replace("'", "''") + "'"
    return Finding(
        # No client may be left that would end it.
        severity=Severity.CRITICAL,
        what=f"the transaction {gid} of user {prepared.owner!r} was prepared {brief(prepared.seconds)} "
        "ago and not ended: no row that died in the last "
        f"{prepared.transactions:,} transactions can be removed",
        remedy=f"COMMIT PREPARED {gid}, or ROLLBACK PREPARED {gid}",
        statements=[f"ROLLBACK PREPARED {gid}"],
        facts={
            "prepared_transaction": prepared.gid,
            "user": prepared.owner,
            "seconds": prepared.seconds,
            "transactions": prepared.transactions,
        },
    )


def _slot(slot: queries.doctor.ReplicationSlot) -> Finding:
    return Finding(
        severity=Severity.WARNING if slot.active else Severity.CRITICAL,
        what=f"the replication slot {slot.slot_name!r}, which {'a' if slot.active else 'no'} standby "
        f"uses, holds the horizon: no row that died in the last {slot.transactions:,} transactions can "
        "be removed",
        remedy=_STANDBY
        if slot.active
        else f"start its standby, or SELECT pg_drop_replication_slot('{slot.slot_name}')",
        facts={
            "replication_slot": slot.slot_name,
            "active": slot.active,
            "transactions": slot.transactions,
        },
    )

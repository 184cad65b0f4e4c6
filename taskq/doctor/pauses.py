"""What is said of what has been paused for long: by whom and why."""

from pydantic import JsonValue

from taskq import queries


def by_whom(paused: queries.doctor.WaitingQueue | queries.doctor.WaitingTask) -> str:
    """Who paused a queue or a task and why, to follow for how long; empty if neither was given."""
    by = f" by {paused.paused_by}" if paused.paused_by else ""
    return f"{by} ({paused.pause_reason})" if paused.pause_reason else by


def pause_facts(
    paused: queries.doctor.WaitingQueue | queries.doctor.WaitingTask,
) -> dict[str, JsonValue]:
    """The same for programs."""
    return {
        "paused_seconds": paused.paused_seconds,
        "paused_by": paused.paused_by or None,
        "reason": paused.pause_reason or None,
    }

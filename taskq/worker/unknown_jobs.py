"""Unknown jobs: of a task, or with arguments, that this worker does not know and another one may.

During a deploy the old workers meet jobs of the new code, and two programs may share a database. Such a job
goes back for other workers to take, and fails only when none has for a while. The table has how often in a
row it went back, for whichever worker has it next. What counts is for how long it was offered, and not the
time since: while no worker runs, none can take it. The first time is kept as a failed attempt, to say why.
"""

# Soon enough for a worker that has just started, and few claims for one that never comes.
_SHORTEST = 1.0  # seconds
_LONGEST = 15.0  # seconds


def wait_before_next(given_back: int, *, timeout: float) -> float | None:
    """For how many seconds a job goes back, each time more.

    Args:
        given_back: How often in a row it went back so far.
        timeout: For how many seconds in all.

    Returns:
        The seconds; None: its time is over.
    """
    waited, wait = 0.0, _SHORTEST
    for _ in range(given_back):
        if waited >= timeout:
            return None
        waited += wait
        wait = min(max(waited / 2, _SHORTEST), _LONGEST)
    return min(wait, timeout - waited) if waited < timeout else None

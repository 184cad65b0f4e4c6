"""A stress test of what keeps jobs apart and in order: real processes, on a server of its own.

    python -m tests.stress --seconds 600 --seed 7

Workers, deferrers and an operator work side by side, each at random from a seed; workers are killed and
paused. Triggers record every version of every job, and tasks record when they run. Nothing else of the schema
is known but the columns of ``taskq_jobs``, so that the test holds for whatever claims, locks and notifies.

``wave`` says what happens, ``recording`` what is recorded, ``log`` what that means; ``running``, ``order``,
``ends``, ``expiry``, ``effects`` and ``waiting`` are the checks, which are functions of the log alone. They
report what is certain: what may have been otherwise, by the time at which a transaction became visible, is no
violation.
"""

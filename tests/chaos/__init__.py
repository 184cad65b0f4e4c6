"""What must hold when processes, servers, networks, disks and clocks fail.

    pytest -m chaos
    TASKQ_TEST_CHAOS=20 TASKQ_TEST_CHAOS_SEED=7 pytest -m chaos

Jobs of all kinds are deferred all the time while a fault is made, and ended; with ``TASKQ_TEST_CHAOS`` so
many times in each test, at moments that follow from the seed. Then each job whose defer was acknowledged
has to have run and succeeded, its effects in its transaction are there once, locks and limits are free,
and the workers are those that were there before. A table at the end of the run has the figures.

``server``, ``proxy`` and ``crew`` are what faults are made on; ``program`` is the worker; ``deferring``
has what was acknowledged; ``scene`` measures and checks.
"""

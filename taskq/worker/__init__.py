"""The worker: takes jobs, runs them, waits for more. One process, one event loop, small services.

What a service moves, and when it may not act, stands at its top:

- ``producer`` claims jobs when ``claim_timing`` says so, behind those that ``claim_cursor`` remembers;
  ``prefetch`` says how many beyond the free slots;
- ``executor_pool`` hands them to its slots, ``attempt`` is what a slot does with one job,
  ``thread_pool`` is where it does it if the task is sync, ``outcomes`` decides what becomes of the job;
- ``completer`` writes how attempts ended;
- ``subscriber`` receives notifications, ``scheduler`` knows when the next job is due: both wake ``producer``;
- ``periodic_enqueuer`` defers periodic tasks;
- ``heartbeat`` says that the worker is alive, and ``rescuer`` takes back the jobs of those that are not;
- ``pruner`` deletes jobs that are kept no longer;
- ``canceller`` finds out what of the running is to be aborted, or is not the worker's any more;
- ``connection`` is a service's connection to the database, which comes back by itself;
- ``services`` makes them all, and says in which order they start and stop, and what each calls of the others;
- ``worker`` registers, runs them, and stops when it is asked to;
- ``event_loop`` drives one to its end in an event loop of its own;
- ``log`` makes records of what all of them tell ``telemetry``.
"""

from taskq.worker.worker import Worker

__all__ = ["Worker"]

"""The worker: takes jobs, runs them, waits for more. One process, one event loop, small parts.

What a part moves, and when it may not act, stands at its top:

- ``producer`` takes jobs from the database, ``prefetch`` says how many beyond the free sub-workers;
- ``running`` hands them to sub-workers, ``attempt`` is what one of them does with a job,
  ``threads`` is where it does it if the task is sync;
- ``completing`` writes how attempts ended;
- ``listening`` hears notifications, ``scheduling`` knows when the next job is due: both wake ``producer``;
- ``ticking`` defers periodic tasks;
- ``heartbeat`` says that the worker is alive, and rescues the jobs of those that are not;
- ``pruning`` deletes jobs that are kept no longer;
- ``aborting`` finds out what of the running is to be aborted, or is not the worker's any more;
- ``link`` is a part's connection to the database, which comes back by itself;
- ``worker`` puts them together, and stops them in the right order;
- ``event_loop`` drives one to its end in an event loop of its own.
"""

from taskq.worker.worker import Worker

__all__ = ["Worker"]

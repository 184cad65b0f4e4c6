"""A model of taskq, and a machine that drives both: the queries on a real PostgreSQL, and the model.

    TASKQ_MODEL_EXAMPLES=2000 TASKQ_MODEL_SEED=7 pytest -m slow tests/model

``state`` is what taskq promises, without SQL; ``rules`` what deferring, claiming, ending and so on make of
it. ``database`` runs the queries of taskq themselves, reads the rows, and moves time. ``machine`` draws
what several workers, deferrers and an operator do, one after the other, and what one transaction does that
stays open meanwhile. ``invariants`` are the promises, each a function that cites where docs/ makes it; they
hold after every step.

Time is not slept: it is moved by whole hours, by putting all times in the tables back. All that is
scheduled is so by whole hours, too, so that the moments that an example itself takes make no difference.
"""

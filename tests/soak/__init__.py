"""The soak: a mixed load for hours, whose figures have to stay as they are once it has warmed up.

One process defers jobs of every kind at a steady rate, one worker runs and prunes them, and for a while a
transaction is left open, beside which no vacuum removes a dead row. Measured are the rate, how many jobs
wait, the worker's memory and the size of tables and indexes. ``python -m tests.soak`` runs it for two
hours, of which the transaction is open for one; a short form is among the slow tests.
"""

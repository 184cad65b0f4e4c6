"""Processes for tasks with ``executor="process"``: fresh interpreters, each of which runs one job at a time.

A process is started when a job first needs one, imports the app, and is kept for the next job. If it dies,
that fails the one job that it ran. ``pool`` keeps them, ``process`` is one of them as the worker sees it, and
``child`` is what runs in it; ``messages`` and ``crossing`` are what goes between the two.
"""

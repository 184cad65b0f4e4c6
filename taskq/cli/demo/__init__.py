"""``taskq demo``: a queue at work on real files.

``tasks`` is an app like any other, ``run`` puts it to work, ``report`` says what came of it.
"""

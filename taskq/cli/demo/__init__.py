"""``taskq demo``: a queue at work on real files.

``tasks`` is an app as anybody would write it, ``run`` puts it to work, ``report`` says what came of it.
"""

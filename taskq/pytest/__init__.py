"""Tests of tasks and of what defers them: a plugin of pytest, with the fixture ``jobs``.

Modules here may import all of taskq but ``contrib`` and ``cli``; ``plugin``, which pytest loads in every run,
may only do so in its fixtures.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.pytest.jobs import Jobs, jobs_on
    from taskq.pytest.ran import Ran
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            from taskq.pytest import jobs  # noqa: PLC0415 - pytest imports this in every run

            return getattr(jobs, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Jobs", "Ran", "jobs_on"]

"""Restarts: what follows the end of a process, decided without I/O."""

from dataclasses import dataclass

from taskq.supervisor.exit_codes import FAILED, USAGE

# One that lived longer did not die at once.
_LONG = 10.0  # seconds
_LONGEST_WAIT = 30.0  # seconds

# So many processes may die before they have started, as long as none ever has.
_MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code, or the number of the signal that killed it, below 0.
        seconds: How long it lived.
        started: Whether its worker was registered.
        done: Whether its worker had done what it was to, as with ``--no-wait`` or ``--max-jobs``.
    """

    code: int
    seconds: float
    started: bool
    done: bool


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing follows."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Another one follows.

    Attributes:
        after: In how many seconds.
    """

    after: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Another one would end in the same way: all are to end.

    Attributes:
        code: What to end with.
        why: For the log.
    """

    code: int
    why: str


class Restarts:
    """Decides for one process after the other in one place."""

    def __init__(self) -> None:
        self._short_lives = 0

    def ended(self, ended: Ended, *, any_started: bool) -> Done | Restart | GiveUp:
        """What follows.

        Args:
            ended: How the last one ended.
            any_started: Whether the worker of any process, here or elsewhere, has ever been registered.
        """
        if ended.done and ended.code == 0:
            return Done()
        if not ended.started and ended.code == USAGE:
            return GiveUp(
                USAGE, "the command line, its environment or the app is wrong, as it says"
            )
        if not (ended.started or any_started) and ended.code == FAILED:
            return GiveUp(FAILED, "it could not start, as it says")
        self._short_lives = self._short_lives + 1 if ended.seconds < _LONG else 0
        if not any_started and self._short_lives >= _MOST_TRIES:
            return GiveUp(FAILED, f"{_MOST_TRIES} have died before they had started, and none has")
        if not self._short_lives:
            return Restart(0)
        return Restart(min(2.0 ** (self._short_lives - 1), _LONGEST_WAIT))

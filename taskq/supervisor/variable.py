"""How a process knows that it is one of several: its number, and the file of its side of the channel."""

from typing import Final

SUPERVISED: Final = "TASKQ_SUPERVISED"

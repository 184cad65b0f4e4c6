"""What `taskq worker` ends with, as one process and as several."""

from typing import Final

FAILED: Final = 1
USAGE: Final = 2  # the command line, its environment or the app is wrong
INTERRUPTED: Final = 130  # what shells take for "ended by Ctrl-C"

"""The end of a process that will not wait for what it still runs."""

import logging
import os
import sys
from typing import NoReturn

INTERRUPTED = 130  # what shells take for "ended by Ctrl-C"


def leave_at_once() -> NoReturn:
    """End this process now, whatever its threads do.

    The interpreter would wait for every thread, and a sync task that does not end cannot be ended.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)

"""Several workers of one command, each in a process of its own, and what starts and watches them."""

from taskq.supervisor.supervised import Supervised
from taskq.supervisor.supervisor import Supervisor

__all__ = ["Supervised", "Supervisor"]

"""What a task is called with and what it returns, on its way into JSON and back."""

from taskq.arguments.arguments import Arguments
from taskq.arguments.result import Result

__all__ = ["Arguments", "Result"]

"""The web dashboard: an ASGI application that shows queues, jobs and workers, and changes them.

``pip install 'taskq-sql[dashboard]'`` brings what it needs. Each page has a module in ``pages``, and no
module here knows another page's.
"""

try:
    import jinja2 as jinja2
    import starlette as starlette
except ImportError as error:
    raise ImportError(
        f"the dashboard needs {error.name}, which is not installed: pip install 'taskq-sql[dashboard]'"
    ) from error

from taskq.contrib.dashboard.access import Access, Authorize, PasswordAccess
from taskq.contrib.dashboard.application import Dashboard

__all__ = ["Access", "Authorize", "Dashboard", "PasswordAccess"]

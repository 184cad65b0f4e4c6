"""Which database taskq works on, and how it speaks with it."""

from taskq.database.database import URL_VARIABLE, Database

__all__ = ["URL_VARIABLE", "Database"]

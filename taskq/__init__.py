"""taskq: a PostgreSQL task queue for Python, SQL first and typed from end to end."""

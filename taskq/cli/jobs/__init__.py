"""``taskq jobs``: the jobs in the database, one by one and many at once."""

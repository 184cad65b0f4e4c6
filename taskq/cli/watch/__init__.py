"""``taskq watch``: queues, workers and rates, as they are now."""

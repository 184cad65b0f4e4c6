"""What a worker answers by HTTP: whether it is alive, whether it is ready, and its metrics."""

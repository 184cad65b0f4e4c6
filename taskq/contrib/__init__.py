"""What taskq offers beside itself, each for an extra of its own; nothing of taskq imports it."""

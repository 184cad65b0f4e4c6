"""Several workers of one command, each in a process of its own, and what starts and watches them."""

"""Metrics: which figures there are, and where they come from, whoever exports them."""

"""Replaying everything that ever happened, in the order of the log."""

"""Programs that work on event logs."""

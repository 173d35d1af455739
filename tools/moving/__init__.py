"""Moving data: from and to other savers, between logs, and into backups."""

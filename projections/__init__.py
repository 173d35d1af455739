"""Tables derived from the log, kept in step with it, rebuildable from it at any time.

The built-in ones, and users' own.
"""

from __future__ import annotations

from .projection import Progress, Projection, ProjectionTables
from .token_usage import TokenTotals, TokenUsage

__all__ = ["Progress", "Projection", "ProjectionTables", "TokenTotals", "TokenUsage"]

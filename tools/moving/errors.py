"""What goes wrong when data is moved between a log and something else.

EventLogError
  SourceError         what is to be imported cannot be read, or is being changed
  ExportError         something in the log has no place in what it is exported to
  ConfigError
    ConflictError     the log holds something else under the same id
"""

from __future__ import annotations

from ...eventlog.errors import ConfigError, EventLogError

__all__ = ["ConflictError", "ExportError", "SourceError"]


class SourceError(EventLogError):
    """What is to be imported cannot be read, or is being changed by its program. What was imported stays."""


class ExportError(EventLogError):
    """Something in the log has no place in what it is to be exported to. No file was left."""


class ConflictError(ConfigError):
    """The log holds another checkpoint of the same id, or another write at the same place. Nothing was changed."""

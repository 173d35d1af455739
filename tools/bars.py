"""A progress bar for each part of what is being done, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .printing import progress

__all__ = ["Bars"]


class Bars(contextlib.ExitStack):
    """Shows one bar at a time, as `printing.progress` does; use it with `with`."""

    def __init__(self) -> None:
        super().__init__()
        self._part: str | None = None
        self._done: Callable[[float], None] | None = None

    def tell(self, part: str, done: int, total: int) -> None:
        """Show how far a part is: a bar of its own, in the place of that of the part before."""
        if part != self._part or self._done is None:
            self.end()
            self._part = part
            self._done = self.enter_context(progress(part, total))
        self._done(done)

    def end(self) -> None:
        """Take the bar away: something else is going to be printed."""
        self._part = self._done = None
        self.close()

"""What happens at fork(): everything that a child would inherit locked is had by the thread that forks, and let go."""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Protocol

__all__ = ["FORKING", "Forked", "opening_apart"]

# So long a fork holds none of the locks when one of them could not be had.
_PAUSE_S = 0.02
# Held by who makes a file, or opens one apart from a Database; and while the process forks: a child would inherit, for
# ever, what another thread had locked in SQLite at that moment. Whoever forks takes it last: who
# waits for it may have a write lock, as a projection has that opens another log.
opening_apart = threading.Lock()


class Forked(Protocol):
    """What takes part."""

    def before_fork(self) -> bool:
        """Lock what is not to be inherited locked; tell whether it could be had in a short while."""

    def after_fork_in_parent(self) -> None:
        """Let go."""

    def after_fork_in_child(self) -> None:
        """Begin anew."""


class Forking:
    """One fork() at a time: what the hook before it locked, the hooks after it release."""

    def __init__(self) -> None:
        self._databases: weakref.WeakSet[Forked] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._locked: list[Forked] = []
        # In a child, why logs at these paths cannot be used: it has inherited a connection that was in use.
        self.inherited: dict[str, str] = {}

    def add(self, database: Forked) -> None:
        """Take part from now on; from before anything is opened."""
        with self._adding:
            self._databases.add(database)

    def before(self) -> None:
        """Have everything locked, of logs that are opened meanwhile, too."""
        self._lock.acquire()
        while True:
            self._adding.acquire()  # until there is a child: what is opened meanwhile, it would inherit
            new = [database for database in self._databases if database not in self._locked]
            if not new:
                opening_apart.acquire()
                return
            self._adding.release()  # who holds a lock that is waited for here may be adding another
            for database in new:
                if not database.before_fork():
                    self._let_go()  # who has its lock may wait for one of these: a projection that appends elsewhere
                    time.sleep(_PAUSE_S)
                    break
                self._locked.append(database)

    def _let_go(self) -> None:
        locked, self._locked = self._locked, []
        for database in locked:
            database.after_fork_in_parent()

    def after_in_parent(self) -> None:
        """Let go of everything."""
        self._let_go()
        opening_apart.release()
        self._adding.release()
        self._lock.release()

    def after_in_child(self) -> None:
        """Begin anew with new locks: whoever waited for the old ones is not here."""
        locked, self._locked = self._locked, []
        self._lock, self._adding = threading.Lock(), threading.Lock()
        opening_apart.release()
        for database in locked:
            database.after_fork_in_child()


FORKING = Forking()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=FORKING.before, after_in_parent=FORKING.after_in_parent, after_in_child=FORKING.after_in_child
    )

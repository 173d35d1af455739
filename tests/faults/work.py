"""What a saver is put to while things fail: steps, each a few calls, that note what was asked for and acknowledged.

STEPS is a list, so that whatever else may change a file is added there.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from langgraph_eventlog.eventlog import BaseErasedError
from langgraph_eventlog.eventlog.appender import prepare
from langgraph_eventlog.eventlog.group_commit import Append
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.compaction.compacting import Compactor
from langgraph_eventlog.saver.compaction.pacing import Pace

from .issued import Issued, Request, checkpoint_of, config_of

__all__ = ["SCENARIO", "STEPS", "Step", "Synchronous", "Work"]

Synchronous = Literal["FULL", "NORMAL"]
THREADS = ("alpha", "beta", "gamma")
RUNS = ("run 1", "run 2")
KEPT = 6  # messages in a channel, so that files stay small
_EPOCH_US = 1_767_225_600_000_000


class Work:
    """A saver at `path`, opened as needed, and what it was asked for.

    Args:
        path: of the log.
        synchronous: as the saver's.
        seed: everything follows from it.
        issued: what was asked for before.
        begin_at: the first number for ids, unlike those in the log already.
        in_truth: what SQLite's `synchronous` is set to behind the saver's back.
    """

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        seed: int,
        issued: Issued | None = None,
        begin_at: int = 0,
        in_truth: str | None = None,
    ) -> None:
        self.path, self.synchronous, self.in_truth = path, synchronous, in_truth
        self.random = random.Random(seed)
        self.issued = Issued() if issued is None else issued
        self.number = begin_at
        self.autocheckpoint = 1000
        self._saver: EventLogSaver | None = None
        self._lingering = contextlib.ExitStack()
        self.lingers = False

    @property
    def saver(self) -> EventLogSaver:
        """The saver; opened if it is not."""
        if self._saver is None:
            self._saver = EventLogSaver(self.path, synchronous=self.synchronous, clock=self._clock)
            with self._saver.log.database.exclusive() as connection:
                connection.pragma("wal_autocheckpoint", self.autocheckpoint)
                if self.in_truth is not None:
                    connection.pragma("synchronous", self.in_truth)
        return self._saver

    @property
    def is_open(self) -> bool:
        return self._saver is not None

    def close(self) -> None:
        """Close it, if it is open; whatever comes of it, it is not used again."""
        saver, self._saver, self.lingers = self._saver, None, False
        try:
            self._lingering.close()
        finally:
            if saver is not None:
                saver.close()

    def linger(self) -> None:
        """Begin to read, and go on until the saver is closed: so long the WAL cannot be begun anew."""
        if not self.lingers:
            connection = self._lingering.enter_context(self.saver.log.database.reading())
            self.lingers = True
            with self.saver.log.database.translating():  # leaving the block, where this is done, is far away
                connection.execute("SELECT head FROM meta").fetchall()

    def _clock(self) -> int:
        return _EPOCH_US + 1_000_000 * self.number

    def next_id(self) -> str:
        self.number += 1
        return f"{self.number:015}"

    def message(self) -> str:
        """Some are longer than a page, and none compresses well."""
        size = self.random.choice((10, 60, 400, 3_000))
        return f"{self.number} {self.random.randbytes(size).hex()}"

    def new_put(self) -> tuple[Request, tuple[Any, Any, Any]]:
        """Give a request, and the arguments of the put."""
        thread, ns = self.random.choice(THREADS), self.random.choice(("", "", "sub"))
        model = self.issued.believed()
        parent = model.latest(thread, ns)
        before = {} if parent is None else model.checkpoints[thread, ns, parent]
        checkpoint_id = self.next_id()
        values = {
            "messages": [*before.get("messages", []), self.message()][-KEPT:],
            "count": self.number,
            "settings": {**before.get("settings", {"model": "m", "temperature": 0.5}), f"s{self.number % 4}": True},
        }
        run = self.random.choice(RUNS)
        request = Request.put(thread, ns, checkpoint_id, values, run)
        metadata = {"source": "loop", "step": self.number, "run_id": run}
        return request, (config_of(thread, ns, parent), checkpoint_of(checkpoint_id, values), metadata)


# A call that opens the log may fail before its request is noted: then nothing was asked for.
Step = Callable[[Work], None]


def put(work: Work) -> None:
    saver = work.saver
    request, (config, checkpoint, metadata) = work.new_put()
    work.issued.ask(request, lambda: saver.put(config, checkpoint, metadata, {}))


def put_writes(work: Work) -> None:
    saver = work.saver
    there = sorted(work.issued.believed().checkpoints)
    if not there:
        return put(work)
    thread, ns, checkpoint_id = work.random.choice(there)
    task = f"task {work.next_id()}"
    writes = [("messages", work.message()), ("branch:to:next", None)]
    request = Request.put_writes(thread, ns, checkpoint_id, task, writes)
    work.issued.ask(request, lambda: saver.put_writes(config_of(thread, ns, checkpoint_id), writes, task))
    return None


def batch(work: Work) -> None:
    """Puts that are committed together, as those of tasks that put at the same time are."""
    saver, calls = work.saver, []
    for _ in range(work.random.randint(2, 5)):
        request, arguments = work.new_put()
        steps = saver._put(*arguments)
        calls.append((request, work.issued.begin(request), steps, Append(prepare(next(steps)))))
    saver.log._append_all([append for _, _, _, append in calls])
    errors: list[Exception] = []
    for request, acknowledge, steps, append in calls:
        try:
            recorded = append.result()
            assert recorded is not None
        except BaseErasedError as e:
            # What it refers to has been restated since it was read: it is encoded, and asked for, again.
            acknowledge = work.issued.begin(request)
            try:
                recorded = saver.log.append(steps.throw(e))
            except Exception as again:
                errors.append(again)
                continue
        except Exception as e:
            errors.append(e)
            continue
        acknowledge()
        with contextlib.suppress(StopIteration):
            steps.send(recorded)
    if errors:
        raise errors[0]


def delete_thread(work: Work) -> None:
    saver, thread = work.saver, work.random.choice(THREADS)
    work.issued.ask(Request.delete_thread(thread), lambda: saver.delete_thread(thread))


def prune(work: Work) -> None:
    saver, thread = work.saver, work.random.choice(THREADS)
    work.issued.ask(Request.prune(thread), lambda: saver.prune([thread]))


def delete_for_runs(work: Work) -> None:
    saver, run = work.saver, work.random.choice(RUNS)
    work.issued.ask(Request.delete_for_runs(run), lambda: saver.delete_for_runs([run]))


def copy_thread(work: Work) -> None:
    saver, source, target = work.saver, work.random.choice(THREADS), f"copy {work.next_id()}"
    work.issued.ask(Request.copy_thread(source, target), lambda: saver.copy_thread(source, target))


def delete_copies(work: Work) -> None:
    """So that there are never many."""
    saver = work.saver
    for thread in sorted({address[0] for address in work.issued.believed().checkpoints} - set(THREADS)):
        work.issued.ask(Request.delete_thread(thread), lambda thread=thread: saver.delete_thread(thread))  # type: ignore[misc]


def read(work: Work) -> None:
    assert len(list(work.saver.list(None, limit=3))) <= 3


def linger(work: Work) -> None:
    work.linger()


def rebuild(work: Work) -> None:
    work.saver.rebuild()


def compact(work: Work) -> None:
    """Nothing was asked for: what can be read stays as it is. A few events a transaction, so that there are several."""
    pace = Pace(clock=itertools.count(0, 0.002).__next__, sleep=lambda _: None)
    Compactor(work.saver._core, vacuum=work.random.random() < 0.2, pace=pace).run()


def close(work: Work) -> None:
    """Closing the last connection folds the WAL into the file, and removes it; the next step opens a new one."""
    work.close()


def checkpoint(work: Work) -> None:
    """SQLite's own: as another program's connection may do it at any time."""
    how = "PASSIVE" if work.lingers else work.random.choice(("PASSIVE", "RESTART", "TRUNCATE"))  # others wait
    with work.saver.log.database.exclusive() as connection:
        connection.pragma(f"wal_checkpoint({how})")


def checkpoint_often(work: Work) -> None:
    """After so many pages, instead of after 1,000."""
    saver, work.autocheckpoint = work.saver, work.random.choice((1, 10, 40, 1000))
    with saver.log.database.exclusive() as connection:
        connection.pragma("wal_autocheckpoint", work.autocheckpoint)


# With how often each is taken at random.
STEPS: list[tuple[int, Step]] = [
    (30, put),
    (15, put_writes),
    (12, batch),
    (4, delete_thread),
    (4, prune),
    (3, delete_for_runs),
    (4, copy_thread),
    (3, delete_copies),
    (4, read),
    (3, linger),
    (5, rebuild),
    (6, compact),
    (7, close),
    (7, checkpoint),
    (6, checkpoint_often),
]

# One after the other, beginning with a file that is not there.
SCENARIO: list[Step] = [
    *(put, put_writes, put, batch, copy_thread, rebuild, delete_thread, compact, put, prune),
    *(
        checkpoint_often,
        put,
        checkpoint,
        put_writes,
        delete_for_runs,
        read,
        linger,
        put,
        close,
        put,
        delete_copies,
        compact,
        close,
    ),
]

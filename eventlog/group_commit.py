"""Group commit: appends that arrive while another commits are committed together, in one transaction.

Whoever appends puts its work into a queue, and then takes the write lock if that is free. Who has the lock is the
leader: it begins a transaction, does what is in the queue, in its order, commits, gives each its result, and lets go.
The others wait until they are told that theirs is done, or that the lock is free: then one of them leads. So batches
come about by themselves while a commit is under way; nobody is kept waiting in the hope of company, and a caller
that is alone does just what it would do without a queue. What follows from it:

- A caller is told of its event only after the COMMIT that it was in.
- Work stays in the queue until it is done, or its caller has withdrawn it. A leader that is stopped in the middle
  (an error, KeyboardInterrupt, SystemExit) rolls back and lets go of the lock; the next one finds the queue as it was.
  If it was stopped after COMMIT, be it by an error that the handler of a signal raised, it looks in the file for the
  events, and the others are told that theirs are in.
- One that fails before it has changed anything (a base that was erased, a `decide` that raises one of the log's
  errors) fails alone. Anything else that fails, COMMIT included, rolls the batch back; then each is done again in a
  transaction of its own, and those that fail again get their error. `decide` may therefore be called more than once.
- A `decide` reads what those before it in its batch appended: it runs in the same transaction, after them.
- Another process holds the lock of the file until the timeout: LogBusyError to all that were in the queue when the
  waiting began. Another thread does (a rebuild, say): each waits for its own timeout, and then withdraws. What a leader
  has taken already cannot be withdrawn: that leader's transaction ends, one way or the other.
- The projections' shape was changed by another process: found at the beginning of a transaction, before anything was
  done. The leader lets go of the lock and looks at them again; so does everyone who leads in the meantime.
- A caller that already is in a write transaction of its own thread (a user's projection that appends) is refused:
  its work could neither be waited for, nor be done by itself.
- close() takes the lock like everyone else: the batch under way is finished, whoever is left in the queue leads in
  turn, and finds the log closed. fork() does, too: no batch is under way then; the child begins with an empty queue.
- Streams that were added are remembered only after the COMMIT.
- Who finds the queue empty and the lock free does its work without the queue.
- Order: of the queue; a thread waits for its append, so that its own are in its order. A batch takes at most
  `_MAX_APPENDS` and about `_MAX_BYTES`; a leader goes on until its own work is done, and no further.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import apsw

from .appender import PreparedEvent
from .database import Database
from .errors import ConfigError, EventLogError, LogBusyError
from .event import NewEvent, RecordedEvent

__all__ = ["Append", "GenerationChangedError", "GroupCommit"]

_MAX_APPENDS = 64
_MAX_BYTES = 8 * 1024 * 1024
# How often a waiting thread looks for itself whether the lock is free. Only a leader that is interrupted once more
# while it lets go can make that necessary.
_LOOK_S = 1.0


class GenerationChangedError(Exception):
    """The projections' shape was changed by another process since this one looked; nothing was done."""


class Append:
    """One append, before and after.

    Args:
        prepared: what is appended, or
        decide: what gives it in the transaction, or None if nothing is to be appended.
    """

    __slots__ = ("_error", "decide", "done", "prepared", "recorded")

    def __init__(
        self,
        prepared: PreparedEvent | None = None,
        decide: Callable[[apsw.Connection], NewEvent | None] | None = None,
    ) -> None:
        self.prepared = prepared
        self.decide = decide
        self.recorded: RecordedEvent | None = None
        self._error: BaseException | None = None
        self.done = False

    @property
    def size(self) -> int:
        """Bytes of the record, as far as they are known."""
        return 0 if self.prepared is None else len(self.prepared.record)

    def succeed(self, recorded: RecordedEvent | None) -> None:
        """Set what was appended; it counts once `done` is set."""
        self.recorded, self._error = recorded, None

    def fail(self, error: BaseException) -> None:
        """Set what went wrong; it counts once `done` is set."""
        self.recorded, self._error = None, error

    @property
    def failed(self) -> bool:
        """Whether `result` raises."""
        return self._error is not None

    def result(self) -> RecordedEvent | None:
        """Give what was appended, or raise what went wrong, once."""
        error, self._error = self._error, None
        if error is None:
            return self.recorded
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


class _Caller:
    """A thread's work in the queue. Changed under the queue's mutex."""

    __slots__ = ("appends", "done", "taken", "wake")

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = appends
        self.taken = False
        self.done = False  # or withdrawn
        self.wake: threading.Lock | None = None  # locked, while there is nothing to tell; None: nobody waits yet

    def tell(self) -> None:
        if self.wake is not None and self.wake.locked():
            self.wake.release()


class GroupCommit:
    """The queue before one database's write lock.

    Args:
        database: whose.
        apply: does appends in the transaction that has begun; sets what each comes to, or raises if that cannot be
            said of each alone. Raises GenerationChangedError before it has done anything.
        committed: is told, after each commit, on which connection; nothing has been read there since.
    """

    def __init__(
        self,
        database: Database,
        *,
        apply: Callable[[apsw.Connection, Sequence[Append]], None],
        committed: Callable[[apsw.Connection], None],
    ) -> None:
        self._database = database
        self._apply = apply
        self._committed = committed
        database.in_child.append(self._renew)
        self._renew()

    def _renew(self) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[_Caller] = deque()
        self._database.write_lock.released = self._wake_next

    def run(self, appends: Sequence[Append]) -> None:
        """Do appends, none of which is `done`, in this order and with those of others; afterwards each has a result.

        Raises:
            GenerationChangedError: look at the projections again, and run those that are not `done` once more.
            LogClosedError, LogReadOnlyError, LogIOError: those that are not `done` were not begun.
        """
        try:
            if not self._queue and self._done_at_once(appends):
                return
        except BaseException:
            self._wake_next()  # it may be somebody's turn who was told nothing
            raise
        caller = _Caller(appends)
        try:
            with self._mutex:
                self._queue.append(caller)
            deadline = 0.0
            while not caller.done:
                if self._holding_the_lock(partial(self._lead, caller)):
                    continue
                if caller.wake is None:
                    wake = threading.Lock()
                    wake.acquire()
                    caller.wake = wake  # and look once more: who let go before this told nobody
                    deadline = time.monotonic() + self._database.busy_timeout_ms / 1000
                else:
                    self._wait(caller, caller.wake, deadline)
        except BaseException:
            self._withdraw(caller)
            self._wake_next()  # it may have been this one's turn
            raise

    def _holding_the_lock(self, work: Callable[[apsw.Connection], bool]) -> bool:
        """Do something with the writing connection if nobody has the lock, and tell whether it is done."""
        lock = self._database.write_lock
        nested, taken = lock.owned(), False
        try:
            taken = lock.acquire(blocking=False)
            return taken and work(self._writer(nested))
        finally:
            try:
                self._database.let_go(nested=nested, taken=taken)
            except BaseException:
                self._database.let_go(nested=nested, taken=False)
                raise

    def _wait(self, caller: _Caller, wake: threading.Lock, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 and self._withdraw(caller):
            self._fail_all(caller.appends, self._database.busy_error())
            self._wake_next()  # it may have been told that it is its turn
            return
        wake.acquire(timeout=min(left, _LOOK_S) if left > 0 else _LOOK_S)

    def _withdraw(self, caller: _Caller) -> bool:
        """Take work that nobody has begun out of the queue; tell whether it is."""
        with self._mutex:
            if caller.taken:
                return False
            caller.done = True
            self._forget_done()
            return True

    def _forget_done(self) -> None:
        while self._queue and self._queue[0].done:
            self._queue.popleft()

    def _wake_next(self) -> None:
        if not self._queue:
            return
        with self._mutex:
            for caller in self._queue:
                if not caller.done:
                    caller.tell()
                    return

    # What who is alone does: what the queue would come to, for less.

    def _done_at_once(self, appends: Sequence[Append]) -> bool:
        """Do appends if nobody has the lock, in one transaction; tell whether they are done, or have failed.

        All that an append needs is here, and nothing besides: each call more can be seen in what an append takes.
        """
        database, begun = self._database, False
        lock = database.write_lock
        if lock.owned():
            return False  # by this thread, which may be in a transaction: that is for the leader to see
        try:
            try:
                if not lock.acquire(False):
                    return False
                connection = database.writer()
                connection.execute("BEGIN IMMEDIATE")
                begun = True
                self._apply(connection, appends)
                connection.execute("COMMIT")
                for append in appends:
                    append.done = True
                self._committed(connection)
                lock.unlock()
            except BaseException:
                try:
                    database.let_go(nested=False, taken=False)
                except BaseException:
                    database.let_go(nested=False, taken=False)
                    raise
                raise
        except Exception as e:
            return self._failed_at_once(appends, e, begun=begun)
        if self._queue:
            self._wake_next()
        return True

    def _failed_at_once(self, appends: Sequence[Append], e: Exception, *, begun: bool) -> bool:
        """Tell whether an error is that of all appends; raise it if there is but one."""
        try:
            with self._database.translating():
                raise e
        except EventLogError as error:
            if len(appends) == 1:
                raise
            if not begun and isinstance(error, LogBusyError):
                self._fail_all(appends, error)  # all of them have waited
                return True
            return False  # one of them: each alone will tell
        finally:
            del e  # its traceback holds this frame

    # What the leader does, while it holds the lock.

    def _writer(self, nested: bool) -> apsw.Connection:
        connection = self._database.writer()
        if nested and connection.in_transaction:
            raise ConfigError(
                "an append inside a write transaction of the same thread: a projection cannot append while it is "
                "told of an event. Nothing was appended"
            )
        return connection

    def _lead(self, own: _Caller, connection: apsw.Connection) -> bool:
        try:
            while not own.done:
                self._commit_some(connection)
        except BaseException:
            self._withdraw(own)
            raise
        return True

    def _commit_some(self, connection: apsw.Connection) -> None:
        with self._mutex:
            waiting = list(self._queue)
        batch: list[_Caller] = []
        appends: list[Append] = []
        try:
            try:
                with self._database.transaction(connection):
                    batch = self._take()
                    appends = [append for caller in batch for append in caller.appends if not append.done]
                    self._apply(connection, appends)
            except GenerationChangedError:
                raise
            except LogBusyError as e:
                if batch:
                    self._one_by_one(connection, batch, appends, e)
                else:  # it was the lock of the file
                    self._fail(waiting, e)
            except Exception as e:
                if not batch:
                    raise
                self._look_after(e, connection, appends)
                self._one_by_one(connection, batch, appends, e)
            else:
                self._finish(connection, batch, appends)
        except BaseException as e:
            self._look_after(e, connection, appends)
            self._tell(batch)
            raise

    def _take(self) -> list[_Caller]:
        """Take what one transaction will hold; whoever arrived while it was begun is in it, too."""
        batch: list[_Caller] = []
        count = size = 0
        with self._mutex:
            for caller in self._queue:
                if caller.done:
                    continue
                count += len(caller.appends)
                size += sum(append.size for append in caller.appends)
                if batch and (count > _MAX_APPENDS or size > _MAX_BYTES):
                    break
                caller.taken = True
                batch.append(caller)
        return batch

    def _finish(self, connection: apsw.Connection, batch: list[_Caller], appends: Sequence[Append]) -> None:
        for append in appends:
            append.done = True
        try:
            self._committed(connection)
        finally:
            self._tell(batch)

    def _tell(self, batch: list[_Caller]) -> None:
        """Tell those whose appends are done; the others are in the queue again, as they were."""
        with self._mutex:
            for caller in batch:
                caller.done = all(append.done for append in caller.appends)
                caller.taken = False
                if caller.done:
                    caller.tell()
            self._forget_done()

    def _fail(self, callers: list[_Caller], e: LogBusyError) -> None:
        with self._mutex:
            left = [caller for caller in callers if not caller.done]
        for caller in left:
            self._fail_all(caller.appends, e)
        self._tell(left)

    def _fail_all(self, appends: Sequence[Append], e: LogBusyError) -> None:
        for append in appends:
            if not append.done:
                append.fail(_another(e))
                append.done = True

    def _one_by_one(
        self, connection: apsw.Connection, batch: list[_Caller], appends: Sequence[Append], e: Exception
    ) -> None:
        """Do what was rolled back again, each in a transaction of its own; what was alone in it has its error."""
        if len(appends) == 1 and not appends[0].done:
            appends[0].fail(e)
            appends[0].done = True
        try:
            for append in appends:
                if not append.done and not self._alone(connection, append):
                    break
        finally:
            self._tell(batch)

    def _alone(self, connection: apsw.Connection, append: Append) -> bool:
        """Do one append; False: it is not done, since another process has the lock."""
        begun = False
        try:
            with self._database.transaction(connection):
                begun = True
                self._apply(connection, [append])
        except GenerationChangedError:
            raise
        except Exception as e:
            if not begun and isinstance(e, LogBusyError):
                return False  # whoever leads next waits, and tells all
            self._look_after(e, connection, [append])
            if not append.done:
                append.fail(e)
                append.done = True
            return True
        append.done = True
        self._committed(connection)
        return True

    def _look_after(self, e: BaseException, connection: apsw.Connection, appends: Sequence[Append]) -> None:
        """After an interrupt, or an error that a signal's handler raised: what is in the file is done."""
        if isinstance(e, (EventLogError, apsw.Error, GenerationChangedError)):
            return  # SQLite's word, or ours: nothing of it is in the file
        self._database.roll_back()  # where the interrupt left a transaction, what is in it would be taken for committed
        for append in appends:
            recorded = append.recorded
            if not append.done and recorded is not None:
                sql = "SELECT 1 FROM event WHERE position = ? AND link = ?"
                found = connection.execute(sql, (recorded.position, recorded.link)).fetchone()
                append.done = found is not None


def _another(e: LogBusyError) -> LogBusyError:
    """Give an error of its own to a thread: raising one in several at once would mix up its traceback."""
    other = LogBusyError(str(e), path=e.path, waited_ms=e.waited_ms)
    other.__cause__ = e.__cause__
    return other

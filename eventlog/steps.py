"""Calls that append, in steps: what comes before an append, and after it. So that one thread can do many calls.

A thread for each task that appends would wait for the others most of the time, and each step of one would wait for
the interpreter. So async code puts such calls into a queue, for each log and event loop, and one worker thread does
what is in it: the first steps of each, one append for all (see `group_commit`), the last steps of each, and one word
to the event loop. While it is at that the next calls arrive. If what it took keeps it busy for long, because of a
serializer or another process, another worker begins with what has come meanwhile, and with what the first one has
ready: no call waits for the serializer of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import sniffio

from . import appender
from .aio import MAX_THREADS, worker_threads
from .event import NewEvent, RecordedEvent
from .group_commit import Append

if TYPE_CHECKING:
    from .log import EventLog

__all__ = ["CallQueue", "Steps", "perform", "perform_async"]

T = TypeVar("T")
# Gives events to be appended, is sent each when it is, or has thrown into it why it is not, and returns the result.
Steps = Generator[NewEvent, RecordedEvent, T]

_MAX_CALLS = 64
# So long a worker may be busy with what it took before another one begins.
_LONG_S = 0.02


def perform(log: EventLog, steps: Steps[T]) -> T:
    """Do a call."""
    try:
        event = next(steps)
        while True:
            try:
                recorded = log.append(event)
            except Exception as e:
                event = steps.throw(e)
            else:
                event = steps.send(recorded)
    except StopIteration as stop:
        returned: T = stop.value
        return returned


async def perform_async(log: EventLog, queue: CallQueue, steps: Steps[T]) -> T:
    """Do a call in a worker thread. Cancelling waits for it to end: an append is in, or it is not."""
    if sniffio.current_async_library() == "asyncio":
        return await _perform_on_asyncio(log, queue, steps)
    await anyio.lowlevel.checkpoint_if_cancelled()
    import trio

    finished = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def tell(calls: list[_Call[Any]]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(_finish, calls)

    call = _Call(steps, tell)
    call.finish = finished.set
    queue.add(log, call)
    with anyio.CancelScope(shield=True):
        await finished.wait()
    return call.result()


async def _perform_on_asyncio(log: EventLog, queue: CallQueue, steps: Steps[T]) -> T:
    # What waits is a bare future: asyncio.run() cancels every task at its end. See `aio`.
    loop = asyncio.get_running_loop()

    def tell(calls: list[_Call[Any]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
            loop.call_soon_threadsafe(_finish, calls)

    call = _Call(steps, tell)
    future: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not future.done():
            future.set_result(None)

    call.finish = finish
    queue.add(log, call)
    try:
        await future
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not call.finished:
                future = loop.create_future()
                with contextlib.suppress(asyncio.CancelledError):
                    await future
        raise
    return call.result()


def _finish(calls: list[_Call[Any]]) -> None:
    for call in calls:
        call.finished = True
        call.finish()


class _Call(Generic[T]):
    """A call and where it is."""

    __slots__ = ("_context", "_error", "_steps", "_value", "append", "finish", "finished", "tell")

    def __init__(self, steps: Steps[T], tell: Callable[[list[_Call[Any]]], None]) -> None:
        self._steps = steps
        self._context = contextvars.copy_context()
        self._value: T | None = None
        self._error: BaseException | None = None
        self.append: Append | None = None  # what it is waiting for; None: it is through
        self.tell = tell
        self.finish: Callable[[], None] = _nothing
        self.finished = False

    def go_on(self, done: Append | None) -> None:
        """Take the next step, now that the last append is done."""
        try:
            self.append = Append(self._context.run(self._step, done))
        except StopIteration as stop:
            self.append, self._value = None, stop.value
        except BaseException as e:
            self.append, self._error = None, e

    def _step(self, done: Append | None) -> appender.PreparedEvent:
        if done is None:
            event = next(self._steps)
        else:
            try:
                recorded = done.result()
            except Exception as e:
                event = self._steps.throw(e)
            else:
                assert recorded is not None
                event = self._steps.send(recorded)
        return appender.prepare(event)

    def result(self) -> T:
        """Give what it returned, or raise what it raised, once."""
        error, self._error = self._error, None
        if error is None:
            return self._value  # type: ignore[return-value]  # it is through: None is what it returned
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


def _nothing() -> None:
    pass


def _later() -> Callable[[float, Callable[[], None]], object]:
    """Give what calls a function in the running event loop after some seconds."""
    if sniffio.current_async_library() == "asyncio":
        # The loop is not kept: what holds this is held for as long as the loop is, and so both would be for ever.
        def later_on_asyncio(seconds: float, function: Callable[[], None]) -> None:
            asyncio.get_running_loop().call_later(seconds, function)

        return later_on_asyncio
    import trio

    async def sleep(seconds: float, function: Callable[[], None]) -> None:
        await trio.sleep(seconds)
        function()

    def later(seconds: float, function: Callable[[], None]) -> None:
        trio.lowlevel.spawn_system_task(sleep, seconds, function)

    return later


class CallQueue:
    """Calls of one event loop at one log, and the worker threads that do them."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[_Call[Any]] = deque()
        self._ready: list[_Call[Any]] = []  # their appends come next, by whichever worker
        self._threads = worker_threads()
        self._workers = 0
        self._since = 0.0  # when a worker last took something
        self._later = _later()
        self._will_look = False  # the event loop's thread's

    def add(self, log: EventLog, call: _Call[Any]) -> None:
        """Have a call done by another thread; from the event loop's."""
        with self._mutex:
            self._waiting.append(call)
        try:
            self._look(log)
        except BaseException:  # no thread can be started
            with self._mutex, contextlib.suppress(ValueError):
                self._waiting.remove(call)
            raise

    def _look(self, log: EventLog) -> None:
        """Begin a worker if there is none, or none that took something lately; look again if there is one."""
        with self._mutex:
            busy = self._workers > 0 and time.monotonic() - self._since < _LONG_S
        if not busy:
            self._begin_another(log)
        if (self._waiting or self._ready) and not self._will_look:
            self._will_look = True
            self._later(_LONG_S, partial(self._look_again, log))

    def _look_again(self, log: EventLog) -> None:
        self._will_look = False
        if self._waiting or self._ready:
            self._look(log)

    def _begin_another(self, log: EventLog) -> None:
        with self._mutex:
            if not (self._waiting or self._ready) or self._workers >= MAX_THREADS:
                return
            self._workers += 1
            self._since = time.monotonic()
        try:
            self._threads.submit(self._work, log)
        except BaseException:
            with self._mutex:
                self._workers -= 1
            raise

    def _next(self) -> _Call[Any] | None:
        with self._mutex:
            return self._waiting.popleft() if self._waiting else None

    def _work(self, log: EventLog) -> None:
        while True:
            with self._mutex:
                if not self._waiting and not self._ready:
                    self._workers -= 1
                    return
                self._since = time.monotonic()
            self._make_ready()
            self._append_ready(log)

    def _make_ready(self) -> None:
        """Do the first steps of what is waiting."""
        until = time.monotonic() + _LONG_S
        while len(self._ready) < _MAX_CALLS and time.monotonic() < until and (call := self._next()) is not None:
            self._go_on(call, None)

    def _append_ready(self, log: EventLog) -> None:
        """Append what is ready, and do the last steps."""
        with self._mutex:
            calls, self._ready = self._ready, []
        appends = [call.append for call in calls if call.append is not None]
        if appends:
            _append_all(log, appends)
        through: list[_Call[Any]] = []
        again: list[_Call[Any]] = []
        for call in calls:
            if call.append is not None and call.append.failed:
                again.append(call)  # it may have to serialise once more
                continue
            if call.append is not None:
                call.go_on(call.append)
            (through if call.append is None else again).append(call)
        _tell(through)
        for call in again:
            self._go_on(call, call.append)

    def _go_on(self, call: _Call[Any], done: Append | None) -> None:
        call.go_on(done)
        if call.append is None:
            _tell([call])
            return
        with self._mutex:
            self._ready.append(call)


def _tell(calls: list[_Call[Any]]) -> None:
    if calls:
        calls[0].tell(calls)  # all are of one event loop


def _append_all(log: EventLog, appends: list[Append]) -> None:
    try:
        log._append_all(appends)
    except BaseException as e:  # nobody but the caller may be told, whatever it is
        if len(appends) == 1:
            appends[0].fail(e)
            return
        for append in appends:
            if not append.done:
                _append_all(log, [append])

"""Running the one, synchronous core from async code, on asyncio and trio.

In worker threads, so that the event loop never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.to_thread
import sniffio
from anyio.lowlevel import RunVar

__all__ = ["MAX_THREADS", "AsyncClosing", "iterate", "run", "waker", "worker_threads"]

T = TypeVar("T")

MAX_THREADS = 32
_MAX_CHUNK = 64
# Threads of our own: in anyio's shared ones, a program whose every thread waits for us would wait for ever.
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("langgraph_eventlog_limiter")
# With the process's id: after fork() an event loop may go on in the child, where its threads are not.
_executor: RunVar[tuple[int, ThreadPoolExecutor]] = RunVar("langgraph_eventlog_executor")


async def run(function: Callable[..., T], *args: Any, on_cancel: Callable[[], None] | None = None) -> T:
    """Call `function(*args)` in a worker thread. Cancelling waits for it to end: an append is in, or it is not.

    `on_cancel` is called before that waiting begins, on asyncio only: so that it ends early.
    """
    if sniffio.current_async_library() == "asyncio":
        return await _run_on_asyncio(partial(function, *args), on_cancel)
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, limiter=limiter)


async def _run_on_asyncio(function: Callable[[], T], on_cancel: Callable[[], None] | None) -> T:
    """Do what `run` does, on asyncio.

    What anyio shields from its own cancel scopes, asyncio's task.cancel(), wait_for() and timeout() still reach. And
    were the call a task of its own, asyncio.run() would cancel it with all others at its end: it is a bare future.
    """
    in_context = partial(contextvars.copy_context().run, function)
    call = asyncio.get_running_loop().run_in_executor(worker_threads(), in_context)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        with anyio.CancelScope(shield=True):
            while not call.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # the caller is told that it was cancelled, not what became of the call
        raise


def worker_threads() -> ThreadPoolExecutor:
    """Give the threads of the running event loop."""
    process, executor = _executor.get((0, None))
    if executor is None or process != os.getpid():
        executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="langgraph_eventlog")
        _executor.set((os.getpid(), executor))
    return executor


class AsyncClosing:
    """What is closed by `async with`, or aclose(), as by its sync close()."""

    if TYPE_CHECKING:

        def close(self) -> None: ...

    async def aclose(self) -> None:
        """Async `close`."""
        await run(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


def iterate(iterator: Iterator[T]) -> AsyncIterator[T]:
    """Iterate in worker threads: first one item at a time, then ever more, since a hop costs about as much as one."""
    return _Iteration(iterator)


class _Iteration(AsyncIterator[T]):
    """Not an async generator: one inside another is left to the garbage collector when the consumer stops half-way.

    Trio warns of those, even if the consumer has closed the outer one.
    """

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator
        self._ready: deque[T] = deque()
        self._error: Exception | None = None
        self._size = 1
        self._ended = False

    async def __anext__(self) -> T:
        if not self._ready and not self._ended:
            chunk, self._error = await run(_take, self._iterator, self._size)
            self._ready.extend(chunk)
            self._ended = len(chunk) < self._size
            self._size = min(2 * self._size, _MAX_CHUNK)
        if self._ready:
            return self._ready.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration


def _take(iterator: Iterator[T], size: int) -> tuple[list[T], Exception | None]:
    """Take up to `size` items; an error comes after those before it, as it does in a plain loop."""
    chunk: list[T] = []
    try:
        chunk.extend(islice(iterator, size))
    except Exception as e:
        return chunk, e
    return chunk, None


def waker() -> tuple[anyio.Event, Callable[[], None]]:
    """Give an event of the running event loop, and a function that sets it from any thread."""
    event = anyio.Event()
    if sniffio.current_async_library() == "asyncio":
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                loop.call_soon_threadsafe(event.set)

        return event, wake
    import trio

    token = trio.lowlevel.current_trio_token()

    def wake_trio() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(event.set)

    return event, wake_trio

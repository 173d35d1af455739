"""Making the calls of lanes: in threads, or in tasks of asyncio or trio, until the time is up."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread
from lanes import Calls
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["WAYS", "Driver"]

WAYS = ("threads", "asyncio", "trio", "mixed")


class Driver:
    """Drives lanes over one saver.

    Args:
        saver: what they call.
        until: time.monotonic() at which each stops, between two calls.

    Attributes:
        calls: how many were made.
        longest_s: what one call took at most.
    """

    def __init__(self, saver: EventLogSaver, until: float) -> None:
        self._saver = saver
        self._until = until
        self.calls = 0
        self.longest_s = 0.0

    def drive(self, way: str, lanes: Sequence[Calls]) -> None:
        """Drive all of them at once, in one of WAYS; raise what they raise."""
        if way in ("asyncio", "trio"):
            anyio.run(self._in_tasks, lanes, backend=way)
        elif way == "threads":
            _in_threads([lambda lane=lane: self._drive(lane) for lane in lanes])  # type: ignore[misc]
        else:
            first, second, *rest = lanes

            def loop(backend: str, lane: Calls) -> None:
                anyio.run(self._in_tasks, [lane], backend=backend)

            _in_threads(
                [
                    lambda: loop("asyncio", first),
                    lambda: loop("trio", second),
                    *(lambda lane=lane: self._drive(lane) for lane in rest),  # type: ignore[misc]
                ]
            )

    def _drive(self, lane: Calls) -> None:
        method, arguments = next(lane)
        while time.monotonic() < self._until:
            begun = time.monotonic()
            result = self._call(method, arguments)
            self._count(begun)
            method, arguments = lane.send(result)

    def _call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if method == "list":
            return list(itertools.islice(self._saver.list(arguments[0]), arguments[1]))
        if method == "read":
            return list(self._saver.log.read(after=arguments[0], limit=arguments[1]))
        return getattr(self._saver, method)(*arguments)

    async def _in_tasks(self, lanes: Sequence[Calls]) -> None:
        async with anyio.create_task_group() as tasks:
            for lane in lanes:
                tasks.start_soon(self._drive_async, lane)

    async def _drive_async(self, lane: Calls) -> None:
        method, arguments = next(lane)
        while time.monotonic() < self._until:
            begun = time.monotonic()
            result = await self._call_async(method, arguments)
            self._count(begun)
            method, arguments = lane.send(result)

    async def _call_async(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if method == "read":
            return await anyio.to_thread.run_sync(self._call, method, arguments)
        if method != "list":
            return await getattr(self._saver, f"a{method}")(*arguments)
        found = []
        async with contextlib.aclosing(self._saver.alist(arguments[0])) as listing:  # type: ignore[type-var]
            async for one in listing:
                found.append(one)
                if len(found) == arguments[1]:
                    break
        return found

    def _count(self, begun: float) -> None:
        self.calls += 1
        self.longest_s = max(self.longest_s, time.monotonic() - begun)


def _in_threads(functions: Sequence[Any]) -> None:
    failed: list[BaseException] = []

    def run(function: Any) -> None:
        try:
            function()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise BaseExceptionGroup("lanes failed", failed)

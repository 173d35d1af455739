"""SIGKILL at random moments: a process that works at a log is killed, and another one opens what it left.

A nursery, a process that has imported everything, forks the workers: so that there is a worker within milliseconds. A
worker writes to a pipe what it is about to ask for, and what was acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from langgraph_eventlog.eventlog import EventLogError

from .issued import BrokenPromiseError, Issued, Request, check
from .power import lay_out
from .work import STEPS, Synchronous, Work, close, compact, put, rebuild

__all__ = ["Killed", "Nursery", "kill_rounds", "nursery"]

NAME = "agent.db"
_BOTH: tuple[Synchronous, ...] = ("FULL", "NORMAL")
_ROUNDS_OF_A_FILE = 8
_IDS_OF_A_ROUND = 100_000  # never so many
_OWN_IDS = 10**12
_WAIT_S = 60.0
_OUT = 1


@dataclass
class Killed:
    """What a round came to: calls that were acknowledged to the worker, and events in the log afterwards."""

    acknowledged: int
    events: int


def kill_rounds(count: int, seed: int, folder: Path) -> Iterator[Killed]:
    """Do rounds; a log is used for some of them. `folder` is emptied.

    Every other log is opened after each kill, as if nobody had it open: what the worker left is recovered. The others
    stay open here all the time, and whoever has a log open goes on with the shared memory that the worker left.

    Raises:
        BrokenPromiseError: a promise does not hold.
    """
    chance = random.Random(seed)
    with Nursery() as there, contextlib.ExitStack() as stack:
        for number in range(count):
            if number % _ROUNDS_OF_A_FILE == 0:
                stack.close()
                lay_out({}, folder)
                synchronous = chance.choice(_BOTH)
                survivor = Work(folder / NAME, synchronous, chance.getrandbits(64), begin_at=_OWN_IDS)
                stack.callback(survivor.close)
                stays = number // _ROUNDS_OF_A_FILE % 2 == 1
            order = {
                "path": str(folder / NAME),
                "synchronous": synchronous,
                "seed": chance.getrandbits(64),
                "begin_at": _IDS_OF_A_ROUND * number,
            }
            # While it opens the log, or after it has said so much.
            said, delay_s = chance.choice(
                ((0, chance.uniform(0, 0.05)), (chance.randint(1, 60), chance.uniform(0, 0.01)))
            )
            acknowledged = there.work_until_killed(order, survivor.issued, said, delay_s)
            try:
                # SIGKILL takes nothing that the kernel has been given: NORMAL loses nothing either.
                check(survivor.saver, survivor.issued)
                survivor.issued.settle()
                put(survivor)
                check(survivor.saver, survivor.issued)
                events = survivor.saver.log.head().position
                if not stays:
                    survivor.close()
            except (BrokenPromiseError, EventLogError) as e:
                raise BrokenPromiseError(f"round {number} of seed {seed}, {synchronous}: {e!r}") from e
            yield Killed(acknowledged, events)


class Nursery:
    """The process that forks workers, while the block lasts."""

    def __init__(self) -> None:
        self._rest = b""

    def __enter__(self) -> Self:
        command = [sys.executable, str(Path(__file__).parent), "nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._wait_for("ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        with self._process as process:
            if e is not None:
                process.kill()  # it may be waiting for a worker, which ends when nobody reads what it says
            assert process.stdin is not None
            process.stdin.close()

    def work_until_killed(self, order: dict[str, Any], issued: Issued, said: int, delay_s: float) -> int:
        """Have a worker work, and kill it; what it asked for is added. Give how much was acknowledged.

        Args:
            order: what it is to do.
            issued: takes what it asks for.
            said: how many messages of its are waited for,
            delay_s: and how long after them it is killed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        worker, before, acknowledged = self._wait_for("worker"), len(issued.calls), 0
        deadline = time.monotonic() + (_WAIT_S if said else delay_s)
        killed = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0 and not killed:
                assert said <= 0, "the worker says nothing"
                os.kill(worker, signal.SIGKILL)
                killed = True
            message = self._next(_WAIT_S if killed else max(0.0, left))
            if message is None:
                assert not killed, "the nursery does not answer"
                continue
            said -= 1
            if said == 0:
                deadline = time.monotonic() + delay_s
            if "request" in message:
                issued.begin(Request.as_told(message["request"]))
            elif "acknowledged" in message:
                issued.calls[before + message["acknowledged"]].acknowledged = True
                acknowledged += 1
            elif "failed" in message:
                raise BrokenPromiseError(f"the worker failed: {message['failed']}")
            elif "ended" in message:
                assert message["ended"] == -signal.SIGKILL
                return acknowledged

    def _wait_for(self, key: str) -> Any:
        message = self._next(_WAIT_S)
        assert message is not None, f"the nursery does not say {key!r}"
        return message[key]

    def _next(self, timeout_s: float) -> dict[str, Any] | None:
        """Give the next message, or None if there is none for so long."""
        assert self._process.stdout is not None
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                with contextlib.suppress(ValueError):  # what the worker was writing when it was killed
                    message: dict[str, Any] = json.loads(line)
                    return message
                continue
            if not select.select([self._process.stdout], [], [], timeout_s)[0]:
                return None
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            assert more, "the nursery has ended"
            self._rest += more


def nursery() -> None:
    """Be the nursery: fork a worker for each order, and say how it ended."""
    _say(ready=True)
    for line in sys.stdin:
        worker = os.fork()
        if worker == 0:
            _be_worker(json.loads(line))
        _, status = os.waitpid(worker, 0)
        _say(ended=os.waitstatus_to_exitcode(status))


def _say(**message: Any) -> None:
    # The line before it may not have been finished.
    data = b"\n" + json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(_OUT, data) :]


def _be_worker(order: dict[str, Any]) -> NoReturn:
    try:
        _say(worker=os.getpid())
        _work(order["path"], order["synchronous"], order["seed"], order["begin_at"])
    except BaseException as e:
        _say(failed=repr(e))
    os._exit(1)


def _work(path: str, synchronous: Synchronous, seed: int, begin_at: int) -> None:
    def tell(what: Request | int) -> None:
        if isinstance(what, Request):
            _say(request=what.told)
        else:
            _say(acknowledged=what)

    work = Work(Path(path), synchronous, seed, Issued(tell), begin_at)
    steps = [step for _, step in STEPS]
    weights = [weight * (4 if step in (close, compact, rebuild) else 1) for weight, step in STEPS]
    while True:
        work.random.choices(steps, weights)[0](work)

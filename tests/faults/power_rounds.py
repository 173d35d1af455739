"""Rounds of losing power: work, cut, perhaps cut again while the log is being opened, open, check, go on.

Everything in a round follows from its number.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from langgraph_eventlog.eventlog import EventLogError
from langgraph_eventlog.saver import EventLogSaver

from .issued import BrokenPromiseError, Issued, check, checkpoint_of, config_of
from .power import Image, PowerVfs, lay_out
from .work import STEPS, Synchronous, Work, put

__all__ = ["FLAWS", "Flaw", "Report", "run_round"]

NAME = "agent.db"
# How a saver could be wrong about durability. A simulation that does not notice these is worth nothing.
Flaw = Literal["never syncs", "NORMAL for FULL", "acknowledges before COMMIT"]
FLAWS: tuple[Flaw, ...] = ("never syncs", "NORMAL for FULL", "acknowledges before COMMIT")


@dataclass
class Report:
    """What a round came to.

    Attributes:
        acknowledged: calls.
        events: found in the log.
        operations: until the cut.
        cuts: 1, or 2 if another one came while the log was being opened.
    """

    acknowledged: int
    events: int
    operations: int
    cuts: int


@cache
def _begun() -> tuple[bytes, Issued, int]:
    """A log that holds something already, and was closed; rounds need not all begin with creating one."""
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder, NAME), "FULL", seed=1)
        for _ in range(4):
            put(work)
        work.close()
        return Path(folder, NAME).read_bytes(), work.issued, work.number


def run_round(number: int, synchronous: Synchronous, folder: Path, *, flaw: Flaw | None = None) -> Report:
    """Do one round; `folder` is emptied.

    Raises:
        BrokenPromiseError: a promise does not hold.
    """
    chance = random.Random(f"{number} {synchronous}")
    before, after = folder / "before", folder / "after"
    shutil.rmtree(folder, ignore_errors=True)
    before.mkdir(parents=True)
    issued, begin_at = Issued(), 0
    if chance.random() < 0.7:
        data, begun, begin_at = _begun()
        (before / NAME).write_bytes(data)
        issued.calls.extend(begun.calls)
    in_truth = {"never syncs": "OFF", "NORMAL for FULL": "NORMAL"}.get(flaw or "")
    work = Work(before / NAME, synchronous, chance.getrandbits(64), issued, begin_at, in_truth)
    with PowerVfs(before, chance.choice((60, 200, 500)) * chance.randint(1, 100) // 100 + 1, chance) as power:
        _work_until_cut(work, power, chance, early=flaw == "acknowledges before COMMIT")
        power.cut()
        with contextlib.suppress(EventLogError):
            work.close()
    assert power.image is not None
    image, cuts = power.image, 1
    if chance.random() < 0.3:
        image, cuts = _cut_while_opening(image, after, synchronous, chance), 2
    lay_out(image, after)
    try:
        events = _check_and_go_on(after / NAME, issued, synchronous)
    except BrokenPromiseError as e:
        seen = ", ".join(f"{name} ({len(data)} bytes)" for name, data in image.items())
        raise BrokenPromiseError(f"round {number}, {synchronous}: {e}. Found after {cuts} cut(s): {seen}") from e
    acknowledged = sum(call.acknowledged for call in issued.calls)
    return Report(acknowledged, events, power.operations, cuts)


def _work_until_cut(work: Work, power: PowerVfs, chance: random.Random, *, early: bool) -> None:
    weights, steps = [weight for weight, _ in STEPS], [step for _, step in STEPS]
    try:
        while not power.is_cut and len(work.issued.calls) < 60:
            chance.choices(steps, weights)[0](work)
    except EventLogError:
        if not power.is_cut:
            raise
        if early:
            for call in work.issued.calls:
                call.acknowledged = True


def _cut_while_opening(image: Image, folder: Path, synchronous: Synchronous, chance: random.Random) -> Image:
    """Recovering is itself cut."""
    lay_out(image, folder)
    with PowerVfs(folder, chance.randint(1, 30), chance) as power:
        try:
            with EventLogSaver(folder / NAME, synchronous=synchronous) as saver:
                list(saver.log.verify())
        except EventLogError as e:
            if not power.is_cut:
                raise BrokenPromiseError(f"opening what is left raises {e!r}") from e
        power.cut()
    assert power.image is not None
    return power.image


def _check_and_go_on(path: Path, issued: Issued, synchronous: Synchronous) -> int:
    try:
        saver = EventLogSaver(path, synchronous=synchronous)
    except EventLogError as e:
        raise BrokenPromiseError(f"opening what is left raises {e!r}") from e
    with saver:
        check(saver, issued, may_lose_the_end=synchronous == "NORMAL")
        events = saver.log.head().position
        values = {"messages": ["after"]}
        try:
            config = saver.put(config_of("after"), checkpoint_of("1", values), {}, {})
            found = saver.get_tuple(config)
        except EventLogError as e:
            raise BrokenPromiseError(f"what is left cannot be put to: {e!r}") from e
        if found is None or found.checkpoint["channel_values"] != values or saver.log.head().position != events + 1:
            raise BrokenPromiseError("what is put afterwards is not there")
    return events

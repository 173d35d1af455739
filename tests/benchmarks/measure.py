"""Figures, and the run that collects them: rounds, peers that are opened together, progress bars."""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from peers import Peer, available, open_peer
from rich.progress import Progress
from sizes import Sizes

__all__ = ["Figure", "Run", "timed"]

T = TypeVar("T")
Better = Literal["less", "more", "limit", "least"]


def timed(call: Callable[..., T], *arguments: Any, **named: Any) -> tuple[T, float]:
    """Give what a call gives, and how many seconds it took."""
    start = time.perf_counter_ns()
    result = call(*arguments, **named)
    return result, (time.perf_counter_ns() - start) / 1e9


@dataclass(slots=True)
class Figure:
    """What was measured in each round, for each peer.

    `better` "less": the ratio is theirs / ours; "more" (throughput): ours / theirs; "limit" and "least": a figure of
    ours alone, at most `floor`, or at least.
    """

    work: str
    title: str
    unit: str
    against: str
    floor: float | None
    better: Better
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def of(self, peer: str) -> float | None:
        """Give a peer's median over the rounds."""
        values = self.rounds.get(peer)
        return statistics.median(values) if values else None

    @property
    def is_ours_alone(self) -> bool:
        """Whether there is nobody to compare it with."""
        return self.better in ("limit", "least")

    @property
    def ratio(self) -> float | None:
        """Give the median of the rounds' ratios: above 1 we are better. A round is measured under one load."""
        ours, theirs = self.rounds.get("ours", []), self.rounds.get("sqlite", [])
        if self.is_ours_alone or not theirs:
            return None
        pairs = zip(ours, theirs, strict=True)
        return statistics.median(a / b if self.better == "more" else b / a for a, b in pairs if a and b)

    @property
    def met(self) -> bool | None:
        """Tell whether the floor is reached; None if there is none, or nothing to compare."""
        if self.floor is None:
            return None
        if self.is_ours_alone:
            ours = self.of("ours")
            return None if ours is None else ours <= self.floor if self.better == "limit" else ours >= self.floor
        return None if self.ratio is None else self.ratio >= self.floor


class Run:
    """One run: where it works, how much it does, and what it has measured."""

    def __init__(self, folder: Path, sizes: Sizes, progress: Progress) -> None:
        self.folder, self.sizes, self._progress = folder, sizes, progress
        self.figures: list[Figure] = []
        # For the pictures: peer -> [(step, value)], from the first round of the first work that draws them.
        self.size_curve: dict[str, list[tuple[int, float]]] = {}
        self.put_curve: dict[str, list[tuple[int, float]]] = {}
        self.work = ""
        self._opened = 0

    def figure(
        self,
        title: str,
        unit: str,
        floor: float | None = None,
        *,
        against: str = "SqliteSaver",
        better: Better = "less",
    ) -> Figure:
        """Begin a figure."""
        made = Figure(self.work, title, unit, "" if better in ("limit", "least") else against, floor, better)
        self.figures.append(made)
        return made

    def add(self, figure: Figure, peer: str, value: float | None) -> None:
        """Add what was measured in a round; None, if this peer has no such thing."""
        if value is not None:
            figure.rounds.setdefault(peer, []).append(value)

    def track(self, what: Iterable[T], total: int, label: str) -> Iterator[T]:
        """Go through it with a progress bar."""
        task = self._progress.add_task(f"  {label}", total=total)
        try:
            for one in what:
                yield one
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def rounds(self) -> Iterator[int]:
        """Count the rounds; garbage of the one before is gone when one begins."""
        for number in range(self.sizes.rounds):
            gc.collect()
            yield number

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Give an empty folder that is removed afterwards."""
        self._opened += 1
        folder = self.folder / f"{self.work}-{self._opened}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def peers(self, synchronous: str, names: Iterable[str] | None = None) -> Iterator[Opened]:
        """Open the peers beside each other."""
        with self.new_folder() as folder:
            opened = Opened(
                [(name, open_peer(name, folder, synchronous)) for name in (available() if names is None else names)]
            )
            try:
                yield opened
            finally:
                opened.close()


class Opened:
    """The peers of a round. They take turns, call by call, and each is the first as often as the others."""

    def __init__(self, peers: list[tuple[str, Any]]) -> None:
        self._stack = ExitStack()
        try:
            self.all: list[Peer] = [self._stack.enter_context(context) for _, context in peers]
        except BaseException:
            self._stack.close()
            raise

    def turns(self, number: int) -> list[Peer]:
        """Give the peers in the order of this turn."""
        first = number % len(self.all)
        return self.all[first:] + self.all[:first]

    def close(self) -> None:
        """Close them; the files' sizes can be looked at then."""
        self._stack.close()

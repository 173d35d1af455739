"""What a saver was asked for and what it said, and whether the log that is found afterwards keeps the promises.

A log keeps them if its events are those asked for, in that order, without some that were never acknowledged; if it
verifies (chain, and projections against a rebuild); and if what can be read from it is what those events come to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langgraph_eventlog.eventlog import Copy, DeleteForRuns, DeleteThread, Kind, Prune, Put, PutWrites
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["BrokenPromiseError", "Issued", "Request", "check", "checkpoint_of", "config_of"]

T = TypeVar("T")
# Of an event: what it is, and what it is about.
Signature = tuple[str, ...]
Address = tuple[str, str, str]


class BrokenPromiseError(AssertionError):
    """Something acknowledged is lost, or something that was never asked for is there."""


def config_of(thread: str, ns: str = "", checkpoint_id: str | None = None) -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ns}
    return {"configurable": named if checkpoint_id is None else {**named, "checkpoint_id": checkpoint_id}}


def checkpoint_of(checkpoint_id: str, values: dict[str, Any]) -> Any:
    versions = dict.fromkeys(values, checkpoint_id)
    return {
        "v": 4,
        "id": checkpoint_id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": versions,
        "versions_seen": {"n": versions},
    }


ERASED = "erased"
# What compaction appends by itself; and requests by what they append.
NOT_ASKED_FOR = (Kind.CARRY, Kind.COMPACTION, Kind.RESTATE, Kind.RESTATE_WRITES)
NAMES = {Kind.PUT: "put", Kind.PUT_WRITES: "put_writes", Kind.COPY: "copy_thread"}


@dataclass
class Model:
    """What can be read: checkpoints with their values, and their writes."""

    checkpoints: dict[Address, dict[str, Any]] = field(default_factory=dict)
    writes: dict[Address, list[tuple[str, str, Any]]] = field(default_factory=dict)
    runs: dict[Address, str] = field(default_factory=dict)
    threads: set[str] = field(default_factory=set)

    def of(self, thread: str) -> list[Address]:
        return sorted(address for address in self.checkpoints if address[0] == thread)

    def latest(self, thread: str, ns: str = "") -> str | None:
        return max((id for t, n, id in self.checkpoints if (t, n) == (thread, ns)), default=None)

    def remove(self, address: Address) -> None:
        for table in (self.checkpoints, self.writes, self.runs):
            table.pop(address, None)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Request:
    """One call that may append an event.

    Attributes:
        signature: of its event.
        apply: does to the model what the event does; False: there is nothing to do, and so no event.
        told: the name of the method below, and its arguments: another process makes the same request of it.
    """

    signature: Signature
    apply: Callable[[Model], bool]
    told: tuple[Any, ...]

    @classmethod
    def as_told(cls, told: Sequence[Any]) -> Request:
        name, *arguments = told
        request: Request = getattr(cls, name)(*arguments)
        return request

    @classmethod
    def put(cls, thread: str, ns: str, checkpoint_id: str, values: dict[str, Any], run: str) -> Request:
        address = (thread, ns, checkpoint_id)

        def apply(model: Model) -> bool:
            model.checkpoints[address], model.runs[address] = values, run
            model.threads.add(thread)
            return True

        return cls(("put", *address), apply, ("put", thread, ns, checkpoint_id, values, run))

    @classmethod
    def put_writes(
        cls, thread: str, ns: str, checkpoint_id: str, task: str, writes: Sequence[tuple[str, Any]]
    ) -> Request:
        address = (thread, ns, checkpoint_id)

        def apply(model: Model) -> bool:
            model.writes.setdefault(address, []).extend((task, channel, value) for channel, value in writes)
            model.writes[address].sort(key=lambda write: write[0])
            model.threads.add(thread)
            return True

        return cls(("put_writes", *address, task), apply, ("put_writes", thread, ns, checkpoint_id, task, writes))

    @classmethod
    def delete_thread(cls, thread: str) -> Request:
        def apply(model: Model) -> bool:
            for address in {*model.checkpoints, *model.writes}:
                if address[0] == thread:
                    model.remove(address)
            there = thread in model.threads
            model.threads.discard(thread)
            return there

        return cls(("delete_thread", thread), apply, ("delete_thread", thread))

    @classmethod
    def prune(cls, thread: str) -> Request:
        def apply(model: Model) -> bool:
            gone = [address for address in model.of(thread) if address[2] != model.latest(thread, address[1])]
            for address in gone:
                model.remove(address)
            return bool(gone)

        return cls(("prune", thread), apply, ("prune", thread))

    @classmethod
    def delete_for_runs(cls, run: str) -> Request:
        def apply(model: Model) -> bool:
            gone = [address for address, its in model.runs.items() if its == run]
            for address in gone:
                model.remove(address)
            return bool(gone)

        return cls(("delete_for_runs", run), apply, ("delete_for_runs", run))

    @classmethod
    def copy_thread(cls, source: str, target: str) -> Request:
        def apply(model: Model) -> bool:
            copied = model.of(source)
            for address in copied:
                to = (target, *address[1:])
                model.checkpoints[to], model.runs[to] = model.checkpoints[address], model.runs[address]
                model.threads.add(target)
                if address in model.writes:
                    model.writes[to] = list(model.writes[address])
            return bool(copied)

        return cls(("copy_thread", source, target), apply, ("copy_thread", source, target))


@dataclass
class _Call:
    request: Request
    acknowledged: bool = False


@dataclass
class _Way:
    """One way to tell which calls are in the log: of what has been erased, only its kind is known."""

    number: int
    place: int
    model: Model
    taken: list[_Call]


class Issued:
    """Every call, in order, and whether it was acknowledged.

    Args:
        tell: is told of each before it is made, and of its number when it is acknowledged.
    """

    def __init__(self, tell: Callable[[Request | int], None] | None = None) -> None:
        self.calls: list[_Call] = []
        self._tell = tell or (lambda _: None)
        self._in: list[_Call] = []

    def begin(self, request: Request) -> Callable[[], None]:
        """Note a call; what is given notes that it was acknowledged."""
        call, number = _Call(request), len(self.calls)
        self.calls.append(call)
        self._tell(request)

        def acknowledge() -> None:
            call.acknowledged = True
            self._tell(number)

        return acknowledge

    def ask(self, request: Request, function: Callable[[], T]) -> T:
        """Make a call."""
        acknowledge = self.begin(request)
        result = function()
        acknowledge()
        return result

    def believed(self) -> Model:
        """Give what there is if exactly what was acknowledged is in."""
        model = Model()
        for call in self.calls:
            if call.acknowledged:
                call.request.apply(model)
        return model

    def match(self, found: Sequence[Signature], *, may_lose_the_end: bool) -> Model:
        """Compare with what is in the log, and give what those events come to.

        Args:
            found: the log's events.
            may_lose_the_end: whether the log may be a prefix of what was acknowledged (NORMAL).

        Raises:
            BrokenPromiseError: it is not that.
        """
        ways = [_Way(0, 0, Model(), [])]
        broken: BrokenPromiseError | None = None
        while ways:
            way = ways.pop()
            try:
                self._follow(way, ways, found, may_lose_the_end=may_lose_the_end)
            except BrokenPromiseError as e:
                broken = broken or e
                continue
            self._in = way.taken
            return way.model
        assert broken is not None
        raise broken

    def settle(self) -> None:
        """Forget the calls that were not found by the last `match`, which never will be; the others are in."""
        self.calls = self._in
        for call in self.calls:
            call.acknowledged = True

    def _asks_again(self, number: int) -> bool:
        wanted = self.calls[number].request.signature
        return any(call.request.signature == wanted for call in self.calls[number + 1 :])

    def _follow(self, way: _Way, ways: list[_Way], found: Sequence[Signature], *, may_lose_the_end: bool) -> None:
        for number in range(way.number, len(self.calls)):
            call, place = self.calls[number], way.place
            wanted = call.request.signature
            there = found[place] if place < len(found) else "the end"
            if there in (wanted, (ERASED, wanted[0])):
                if not call.acknowledged and (there != wanted or self._asks_again(number)):
                    # What has been erased may be another's as well; so may what was asked for again.
                    ways.append(_Way(number + 1, place, _copy_of(way.model), list(way.taken)))
                if not call.request.apply(way.model):
                    raise BrokenPromiseError(f"event {place + 1} {wanted} has no reason")
                way.place += 1
                way.taken.append(call)
            elif call.acknowledged:
                if place == len(found) and may_lose_the_end:
                    break
                if _does_something(call.request, way.model):
                    raise BrokenPromiseError(
                        f"call {number} {wanted} was acknowledged, and is not in the log: there is {there}, "
                        f"event {place + 1}"
                    )
        if way.place < len(found):
            raise BrokenPromiseError(f"event {way.place + 1} {found[way.place]} was not asked for there")


def _does_something(request: Request, model: Model) -> bool:
    return request.apply(_copy_of(model))


def _copy_of(model: Model) -> Model:
    return Model(
        dict(model.checkpoints), {a: list(w) for a, w in model.writes.items()}, dict(model.runs), set(model.threads)
    )


def _found(saver: EventLogSaver) -> list[Signature]:
    """Give what was asked for, in order, as the log has it: of what has been erased, the kind is known."""
    found = {event.position: _signature(event) for event in saver.log.read() if event.kind not in NOT_ASKED_FOR}
    with saver.log.database.reading() as connection:
        stubs = connection.execute("SELECT position, kind FROM erased").fetchall()
    found |= {position: (ERASED, NAMES[kind]) for position, kind in stubs if kind not in NOT_ASKED_FOR}
    return [signature for _, signature in sorted(found.items())]


def _signature(event: Any) -> Signature:
    match event.data:
        case Put():
            return ("put", event.thread_id, event.checkpoint_ns, event.data.checkpoint_id)
        case PutWrites():
            return (
                "put_writes",
                event.thread_id,
                event.checkpoint_ns,
                event.data.checkpoint_id,
                event.data.task_id,
            )
        case DeleteThread():
            return ("delete_thread", event.thread_id)
        case Prune():
            return ("prune", *sorted({removal.thread_id for removal in event.data.removals}))
        case DeleteForRuns():
            return ("delete_for_runs", *event.data.run_ids)
        case Copy():
            return ("copy_thread", event.data.source_thread_id, event.thread_id)
    raise AssertionError(f"an event of an unexpected kind: {event.kind}")


def check(saver: EventLogSaver, issued: Issued, *, may_lose_the_end: bool = False) -> Model:
    """Check every promise about what an open saver finds; give what is there.

    Raises:
        BrokenPromiseError: one is broken.
    """
    try:
        model = issued.match(_found(saver), may_lose_the_end=may_lose_the_end)
        findings = list(saver.log.verify())
        if findings:
            raise BrokenPromiseError(f"verify finds {findings}")
        seen = {}
        for one in saver.list(None):
            named = one.config["configurable"]
            seen[named["thread_id"], named["checkpoint_ns"], named["checkpoint_id"]] = one
    except BrokenPromiseError:
        raise
    except Exception as e:
        raise BrokenPromiseError(f"the log cannot be read: {e!r}") from e
    if set(seen) != set(model.checkpoints):
        raise BrokenPromiseError(f"listed are {sorted(seen)}, not {sorted(model.checkpoints)}")
    for address, one in seen.items():
        if one.checkpoint["channel_values"] != model.checkpoints[address]:
            raise BrokenPromiseError(f"{address} has other values than were put")
        if one.pending_writes != model.writes.get(address, []):
            raise BrokenPromiseError(f"{address} has other writes than were put")
    return model

"""What one caller does, one call after another: a lane of a writer, and one of a reader.

A lane gives the calls, and is sent what each returned; who drives it decides how they are made: sync, in a thread, or
in a task of asyncio or trio. So there is one lane for all of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Generator
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

__all__ = ["Calls", "Reading", "Writing", "check", "config"]

# Gives (method, arguments), is sent what the method returned.
Calls = Generator[tuple[str, tuple[Any, ...]], Any, None]

SHARED = [f"shared {n}" for n in range(3)]
CHURNED = [f"churned {n}" for n in range(2)]
_ITEMS = 30
_SAME = {"system": "You are a helpful assistant. " * 40, "limits": list(range(50))}


def config(thread: str, id: str | None = None) -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ""}
    return {"configurable": named if id is None else {**named, "checkpoint_id": id}}


def _sum(items: list[str]) -> str:
    return hashlib.sha256("\n".join(items).encode()).hexdigest()


def _values(items: list[str]) -> dict[str, Any]:
    return {"items": items, "sum": _sum(items), "same": _SAME, "text": " ".join(items * 8)}


def _checkpoint(id: str, values: dict[str, Any]) -> Any:
    versions = dict.fromkeys(values, id)
    return {"v": 4, "id": id, "ts": "", "channel_values": values, "channel_versions": versions, "versions_seen": {}}


def check(found: CheckpointTuple) -> str:
    """Check that a checkpoint came with its values, and its writes with theirs; give its id."""
    id: str = found.checkpoint["id"]
    values = found.checkpoint["channel_values"]
    assert found.config["configurable"]["checkpoint_id"] == id
    assert values == _values(values["items"]), f"the values at {id} are not of one moment"
    assert values["items"][-1] == id, f"{id} has the values of {values['items'][-1]}"
    assert found.metadata["token"] == id  # type: ignore[typeddict-item]  # our own key
    writes: dict[str, list[tuple[str, Any]]] = {}
    for task, channel, value in found.pending_writes or []:
        writes.setdefault(task, []).append((channel, value))
    for task, of_task in writes.items():
        assert of_task == [("x", {"token": task}), ("y", task)], f"the writes of {task} are not whole: {of_task}"
    return id


class Writing:
    """Puts, writes and deletes, in threads of its own and in those that all share.

    Args:
        name: nobody else's.
        seed: decides what it does.

    Attributes:
        acknowledged: the token of each event that it was told is in, in its order.
        deleted: how many times it deleted a thread that others put into.
    """

    def __init__(self, name: str, seed: object) -> None:
        self.name = name
        self.acknowledged: list[str] = []
        self.deleted = 0
        self._random = random.Random(f"{seed} {name}")
        self._own = [f"own {name} {n}" for n in range(2)]
        self._items: dict[str, list[str]] = {}
        self._number = 0

    def calls(self) -> Calls:
        while True:
            match self._random.choices(["put", "read", "share", "write", "delete", "churn"], [40, 5, 20, 25, 4, 6])[0]:
                case "put":
                    yield from self._put(self._random.choice(self._own))
                case "read":
                    yield from self._read_own(self._random.choice(self._own))
                case "share":
                    yield from self._put_shared(self._random.choice(SHARED))
                case "write":
                    yield from self._write(self._random.choice([*self._own, *SHARED]))
                case "delete":
                    yield from self._put_and_delete()
                case "churn":
                    yield from self._churn(self._random.choice(CHURNED))

    def _token(self) -> str:
        self._number += 1
        return f"{self._number:08} {self.name}"

    def _append(self, thread: str, parent: str | None, items: list[str], token: str) -> Calls:
        values = _values([*items, token][-_ITEMS:])
        arguments = (config(thread, parent), _checkpoint(token, values), {"token": token}, {})
        given = yield "put", arguments
        assert given == config(thread, token)
        self.acknowledged.append(token)

    def _put(self, thread: str) -> Calls:
        """As a graph does: it has its state in memory."""
        items = self._items.get(thread, [])
        token = self._token()
        yield from self._append(thread, items[-1] if items else None, items, token)
        self._items[thread] = [*items, token][-_ITEMS:]

    def _read_own(self, thread: str) -> Calls:
        """What was acknowledged is there at once, for those who put it."""
        found = yield "get_tuple", (config(thread),)
        items = self._items.get(thread, [])
        assert (found.checkpoint["channel_values"]["items"] if found else []) == items
        if found:
            check(found)

    def _put_shared(self, thread: str) -> Calls:
        found = yield "get_tuple", (config(thread),)
        items = found.checkpoint["channel_values"]["items"] if found else []
        yield from self._append(thread, check(found) if found else None, items, self._token())

    def _write(self, thread: str) -> Calls:
        if thread in SHARED:
            found = yield "get_tuple", (config(thread),)
            id = check(found) if found else "not there yet"
        else:
            id = self._items.get(thread, ["not there yet"])[-1]
        token = self._token()
        yield "put_writes", (config(thread, id), [("x", {"token": token}), ("y", token)], token)
        self.acknowledged.append(token)

    def _put_and_delete(self) -> Calls:
        token = self._token()
        yield from self._append(f"gone {token}", None, [], token)
        yield "delete_thread", (f"gone {token}",)
        self.acknowledged.append(f"gone {token}")
        assert (yield "get_tuple", (config(f"gone {token}"),)) is None

    def _churn(self, thread: str) -> Calls:
        if self._random.random() < 0.3:
            yield "delete_thread", (thread,)
            self.deleted += 1
        else:
            yield from self._append(thread, None, [], self._token())


class Reading:
    """Reads whatever there is, and checks that no thread goes backwards.

    Args:
        threads: those of the writers.
        seed: decides what it reads, and in which order.
    """

    def __init__(self, threads: list[str], seed: object) -> None:
        self.checked = 0
        self._threads = [*threads, *SHARED]
        self._random = random.Random(str(seed))
        self._latest: dict[str, str] = {}
        self._position = 0

    def calls(self) -> Calls:
        while True:
            thread = self._random.choice(self._threads)
            what = self._random.choices(["latest", "by id", "list", "list all", "log"], [50, 10, 15, 10, 15])[0]
            if what == "latest":
                yield from self._look_at(thread)
            elif what == "by id" and self._latest.get(thread):
                found = yield "get_tuple", (config(thread, self._latest[thread]),)
                assert self._check(found) == self._latest[thread]
            elif what == "list":
                yield from self._list(thread)
            elif what == "list all":
                found = yield "list", (None, self._random.randrange(1, 20))
                for one in found:
                    self._check(one)
            else:
                yield from self._follow()

    def _check(self, found: CheckpointTuple) -> str:
        self.checked += 1
        return check(found)

    def _look_at(self, thread: str) -> Calls:
        found = yield "get_tuple", (config(thread),)
        before = self._latest.get(thread, "")
        id = self._check(found) if found is not None else ""
        assert id >= before, f"{thread} went back from {before!r} to {id!r}"
        self._latest[thread] = id

    def _list(self, thread: str) -> Calls:
        """Some of it: mostly it is left half-way."""
        found = yield "list", (config(thread), self._random.randrange(1, 12))
        ids = [self._check(one) for one in found]
        assert ids == sorted(ids, reverse=True)
        before = self._latest.get(thread, "")
        if before:
            assert ids, f"{thread} is empty, and was not"
            assert ids[0] >= before, f"{thread} went back from {before!r} to {ids[0]!r}"
            self._latest[thread] = ids[0]

    def _follow(self) -> Calls:
        events = yield "read", (self._position, 100)
        positions = [event.position for event in events]
        assert positions == list(range(self._position + 1, self._position + len(positions) + 1)), "an event is missing"
        self._position += len(positions)

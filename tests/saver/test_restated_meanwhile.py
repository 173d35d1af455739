"""Who goes on putting while records are restated notices: nothing that it appends refers to what goes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import BaseErasedError, Kind, Put
from langgraph_eventlog.eventlog.event import NewEvent
from langgraph_eventlog.eventlog.record import read_bases
from langgraph_eventlog.eventlog.value import Carried, Splice
from langgraph_eventlog.saver import EventLogSaver

from .affected import Plan, everything, looked_back, named, pointed_at, restate
from .test_restating import TEXT, config, message, name, put, turn
from .test_similar_writes import edited

pytestmark = pytest.mark.slow

Make = Callable[..., EventLogSaver]
KEPT = [TEXT * 10]


def bases(saver: EventLogSaver, position: int | None = None) -> tuple[int, ...]:
    at = saver.log.head().position if position is None else position
    with saver.log.database.reading() as connection:
        ((record,),) = connection.execute("SELECT record FROM event WHERE position = ?", (at,)).fetchall()
    return read_bases(record)


def position_of(saver: EventLogSaver, n: int) -> int:
    with saver.log.database.reading() as connection:
        keys = saver.log.keys.find(connection, "t", "")
        assert keys is not None
        row = saver._core.views.history.one(connection, keys[1], name(n))
    assert row is not None
    return row.position


@pytest.mark.parametrize("who", ["the same saver", "another saver", "a clone"])
def test_a_graph_that_goes_on_refers_to_the_restate(make_saver: Make, who: str) -> None:
    """Its thread is pruned and restated under it, again and again; the old record is named by nobody."""
    saver = make_saver()
    other = make_saver() if who == "another saver" else saver
    put(saver, 0, {"kept": KEPT, "chat": [TEXT]})
    put(saver, 1, {"kept": KEPT, "chat": [TEXT] * 2})
    for n in range(2, 7):
        other.prune(["t"])
        plan = Plan.of(other)
        restate(other, plan)
        at = position_of(other, n - 1)
        put(saver, n, {"kept": KEPT, "chat": [TEXT] * (n + 1)})
        assert bases(saver) == (at,)
        assert not named(saver) & (plan.gone | plan.affected)
        assert saver.get_tuple(config(None)).checkpoint["channel_values"]["chat"] == [TEXT] * (n + 1)


def test_what_was_encoded_before_is_encoded_again(make_saver: Make, monkeypatch: Any) -> None:
    """The restate comes between a put's looking at its parent, and its append."""
    from langgraph_eventlog.saver import saver as module

    saver, other = make_saver(), make_saver()
    put(saver, 0, {"kept": KEPT})
    put(saver, 1, {"kept": KEPT, "chat": [TEXT] * 9})
    other.prune(["t"])
    real, encoded = module.encode_put, []

    def encode_put(*args: Any, **options: Any) -> Any:
        encoded.append(real(*args, **options))
        if len(encoded) == 1:
            restate(other)
        return encoded[-1]

    monkeypatch.setattr(module, "encode_put", encode_put)
    put(saver, 2, {"kept": KEPT, "chat": [TEXT] * 10})
    assert len(encoded) == 2
    assert bases(saver) == (position_of(saver, 1),)
    event = next(saver.log.read(after=saver.log.head().position - 1))
    assert isinstance(event.data, Put)
    assert [type(value) for value in event.data.channels.values()] == [Carried, Splice]
    assert named(saver) == set()


def test_who_is_restated_each_time_it_looks_stores_its_values_in_full(make_saver: Make, monkeypatch: Any) -> None:
    from langgraph_eventlog.saver import saver as module

    saver, other = make_saver(), make_saver()
    put(saver, 0, {"kept": KEPT})
    real = module.encode_put

    def encode_put(*args: Any, **options: Any) -> Any:
        encoded = real(*args, **options)
        at = position_of(other, 0)
        restate(other, Plan.of(other, [at]))
        return encoded

    monkeypatch.setattr(module, "encode_put", encode_put)
    put(saver, 1, {"kept": KEPT})
    assert bases(saver) == ()


def test_calls_that_wait_together_notice_together(make_saver: Make) -> None:
    """What stands in the queue when a restate is committed is in its batch, or the next: each is encoded again."""
    saver, other = make_saver(), make_saver()
    threads = [f"thread {i}" for i in range(12)]
    for thread in threads:
        put(saver, 0, {"kept": KEPT}, thread=thread)
        put(saver, 1, {"kept": KEPT, "n": 1}, thread=thread)
    other.prune(threads)
    plan = Plan.of(other)
    queued = threading.Barrier(len(threads) + 1)
    errors: list[BaseException] = []

    def go_on(thread: str) -> None:
        try:
            queued.wait(60)
            for n in range(2, 6):
                put(saver, n, {"kept": KEPT, "n": n}, thread=thread)
        except BaseException as e:
            errors.append(e)

    running = [threading.Thread(target=go_on, args=(thread,)) for thread in threads]
    for each in running:
        each.start()
    queued.wait(60)
    restate(saver, plan)
    for each in running:
        each.join(60)
    assert errors == []
    assert looked_back(saver) == []
    restate(other)
    assert named(saver) == set()
    for thread in threads:
        listed = [found.checkpoint["channel_values"] for found in saver.list(config(None, thread))]
        assert listed == [{"kept": KEPT, "n": n} for n in (5, 4, 3, 2, 1)]


def test_an_append_in_the_batch_of_a_restate_is_refused_if_it_was_encoded_before(make_saver: Make) -> None:
    saver = make_saver()
    put(saver, 0, {"kept": KEPT})
    at = position_of(saver, 0)
    generation = saver.log.generation
    channels = {"kept": Carried(at)}
    event = next(saver.log.read(kinds=[Kind.PUT]))
    assert isinstance(event.data, Put)
    old = NewEvent(event.data._replace(channels=channels, checkpoint_id="new"), "t", generation=generation)
    restate(saver, Plan.of(saver, [at]))
    assert saver.log.generation != generation
    with pytest.raises(BaseErasedError) as caught:
        saver.log.append(old)
    assert caught.value.positions == (at,)
    assert saver.get_tuple(config("new")) is None
    again = NewEvent(old.data._replace(channels={"kept": Carried(position_of(saver, 0))}), "t")
    saver.log.append(again._replace(generation=saver.log.generation))


def test_async_calls_notice_too(make_saver: Make) -> None:
    saver, other = make_saver(), make_saver()
    put(saver, 0, {"kept": KEPT})
    put(saver, 1, {"kept": KEPT, "n": 1})

    async def all_of_it() -> None:
        for n in range(2, 8):
            other.prune(["t"])
            restate(other)
            checkpoint: Any = {
                **{"v": 4, "id": name(n), "ts": "", "channel_versions": {}, "versions_seen": {}},
                "channel_values": {"kept": KEPT, "n": n},
            }
            await saver.aput(config(name(n - 1)), checkpoint, {}, {})
            assert bases(saver) == (position_of(other, n - 1),)

    asyncio.run(all_of_it())
    assert named(saver) == set()
    assert looked_back(saver) == []


def test_writes_that_are_like_earlier_ones_are_no_patches_to_what_was_restated(make_saver: Make) -> None:
    saver, other = make_saver(), make_saver()
    put(saver, 0, {"n": 0})
    saver.put_writes(config(name(0)), [("document", edited(1))], "task")
    put(saver, 1, {"n": 1})
    saver.put_writes(config(name(1)), [("document", edited(2))], "task")
    assert bases(saver) == (2,)
    other.prune(["t"])
    restate(other)
    saver.put_writes(config(name(1)), [("document", edited(3))], "another")
    assert bases(saver) == ()
    saver.put_writes(config(name(1)), [("document", edited(4))], "a third")
    assert bases(saver) == (saver.log.head().position - 1,)
    assert named(saver) == set()


def test_slices_are_of_writes_that_stay(make_saver: Make) -> None:
    """What a saver remembers to be written may have been restated since."""
    saver, other = make_saver(), make_saver()
    put(saver, 0, {"n": 0})
    saver.put_writes(config(name(0)), [("document", edited(1))], "task")
    put(saver, 1, {"n": 1, "chat": [message(0)] * 9})
    saver.put_writes(config(name(1)), [("document", edited(2)), ("chat", [message(1)])], "task")
    other.prune(["t"])
    plan = Plan.of(other)
    restate(other, plan)
    put(saver, 2, {"n": 2, "chat": [message(0)] * 9 + [message(1)]})
    assert not named(saver) & plan.gone
    assert saver.get_tuple(config(name(2))).checkpoint["channel_values"]["chat"][-1] == message(1)


@pytest.mark.parametrize("most", [8, 0])
def test_a_writer_that_is_always_quicker_is_restated_under_the_lock(
    make_saver: Make, monkeypatch: Any, most: int
) -> None:
    """It puts a child of what it knew between each look at its stream and the next; what is too much there is left."""
    from langgraph_eventlog.saver.compaction import restating

    monkeypatch.setattr(restating, "_MOST_UNDER_LOCK", most)
    saver, other = make_saver(), make_saver()
    chat: list[Any] = []
    for n in range(6):
        turn(saver, n, chat)
    other.prune(["t"])
    plan = Plan.of(other)
    real = restating._Work._some
    count = iter(range(6, 1000))

    def some(*args: Any) -> Any:
        left = real(*args)
        # As if it had been put just before the lock was taken: it refers to what its parent's old record did.
        n = next(count)
        event = next(saver.log.read(after=position - 1))
        assert isinstance(event.data, Put)
        saver.log.append(NewEvent(event.data._replace(checkpoint_id=name(n), parent_id=name(n - 1)), "t"))
        return left

    position = position_of(saver, 5)
    monkeypatch.setattr(restating._Work, "_some", some)
    result = restate(other, plan)
    assert result.left == (0 if most else 1)
    assert (named(saver) == set()) == (result.left == 0)
    assert len([*saver.list(config(None))]) == result.checkpoints + result.left > 4
    monkeypatch.undo()
    restate(other)
    assert named(saver) == set()


GOES_ON = """
import sys
from langgraph_eventlog.saver import EventLogSaver
KEPT, path = sys.argv[2], sys.argv[1]
def config(n):
    return {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": f"{n:04}"}}
with EventLogSaver(path) as saver:
    for line in sys.stdin:
        n = int(line)
        checkpoint = {"v": 4, "id": f"{n:04}", "ts": "", "channel_values": {"kept": [KEPT], "n": n, "chat": [KEPT] * n},
                      "channel_versions": {}, "versions_seen": {}}
        saver.put(config(n - 1), checkpoint, {}, {})
        print(saver.log.head().position, flush=True)
"""


def test_another_process_that_goes_on_refers_to_the_restate(make_saver: Make) -> None:
    saver = make_saver()
    put(saver, 0, {"kept": KEPT})
    command = [sys.executable, "-c", GOES_ON, saver.path, TEXT * 10]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def step(n: int) -> int:
            print(n, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        step(1)
        step(2)
        for n in range(3, 9):
            saver.prune(["t"])
            before = everything(saver)
            plan = Plan.of(saver)
            restate(saver, plan)
            assert everything(saver) == before
            at = position_of(saver, n - 1)
            assert bases(saver, step(n)) == (at,)
            assert not named(saver) & (plan.gone | plan.affected)
        process.stdin.close()
        assert process.wait(60) == 0
    assert looked_back(saver) == []


BUSY = GOES_ON.replace("for line in sys.stdin:\n        n = int(line)", "for n in range(1, 400):")


def test_a_process_that_puts_all_the_time_brings_nothing_back(make_saver: Make) -> None:
    saver = make_saver(synchronous="NORMAL")
    put(saver, 0, {"kept": KEPT})
    command = [sys.executable, "-c", BUSY, saver.path, TEXT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline():
            saver.prune(["t"])
            restate(saver)
            for _ in range(20):
                process.stdout.readline()
        assert process.wait(60) == 0
    assert looked_back(saver) == []
    saver.prune(["t"])
    restate(saver)
    assert named(saver) == set()
    assert saver.get_tuple(config(None)).checkpoint["channel_values"]["n"] == 399


@pytest.mark.parametrize("how", ["threads", "async"])
def test_many_that_put_while_one_restates_all_the_time(make_saver: Make, how: str) -> None:
    """Writes and checkpoints of several threads, two savers on one file, and everything restated again and again."""
    savers = [make_saver(synchronous="NORMAL"), make_saver(synchronous="NORMAL")]
    for i in range(4):
        put(savers[0], 0, {"kept": KEPT, "chat": []}, thread=f"thread {i}")

    def goes_on(i: int) -> None:
        chat: list[Any] = []
        for n in range(1, 25):
            turn(savers[i % 2], n, chat, f"thread {i}")

    async def goes_on_async(i: int) -> None:
        saver, chat = savers[i % 2], list[Any]()
        for n in range(1, 25):
            before = config(name(n - 1), f"thread {i}")
            chat.append(message(n))
            await saver.aput_writes(before, [("chat", [chat[-1]]), ("document", edited(n))], "task")
            checkpoint: Any = {
                **{"v": 4, "id": name(n), "ts": "", "channel_versions": {}, "versions_seen": {}},
                "channel_values": {"kept": KEPT, "chat": list(chat)},
            }
            await saver.aput(before, checkpoint, {}, {})

    async def all_of_them() -> None:
        await asyncio.gather(*(goes_on_async(i) for i in range(4)))

    done = threading.Event()
    restates = 0

    def run() -> None:
        try:
            if how == "async":
                asyncio.run(all_of_them())
            else:
                running = [threading.Thread(target=goes_on, args=(i,)) for i in range(4)]
                for each in running:
                    each.start()
                for each in running:
                    each.join()
        finally:
            done.set()

    runs = threading.Thread(target=run)
    runs.start()
    while not done.is_set():
        saver = savers[restates % 2]
        result = restate(saver, Plan.of(saver, sorted(pointed_at(saver))[-3:]))
        restates += bool(result.checkpoints + result.writes)
    runs.join()
    assert restates > 0
    assert looked_back(savers[0]) == []
    for i in range(4):
        found = [one.checkpoint["channel_values"] for one in savers[0].list(config(None, f"thread {i}"))]
        assert len(found) == 25
        chats = [values.get("chat", values.get("messages")) for values in found]
        assert [len(chat) for chat in chats] == list(range(24, -1, -1))

"""What is remembered of what was read is counted as what it takes, however small its parts are."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from langgraph_eventlog.saver import EventLogSaver


def small_texts(n: int) -> dict[str, Any]:
    return {"c": [f"{n:4} {i:10}" for i in range(1_000)]}


def small_dict(n: int) -> dict[str, Any]:
    return {"c": {f"{n:4} {i}": f"{n:8} {i:20}" for i in range(500)}}


def many_channels(n: int) -> dict[str, Any]:
    return {f"{n:4} {i}": i for i in range(300)}


def many_writes(n: int) -> dict[str, Any]:
    return {"c": n}


@pytest.mark.parametrize("values_of", [small_texts, small_dict, many_channels, many_writes])
def test_what_was_read_takes_about_what_it_is_counted_as(make_saver: Any, values_of: Any) -> None:
    with EventLogSaver(make_saver().path, synchronous="NORMAL", memory_bytes=0) as writer:
        for n in range(25):
            config: Any = {"configurable": {"thread_id": str(n), "checkpoint_ns": ""}}
            checkpoint: Any = {
                "v": 4,
                "id": "1",
                "ts": "",
                "channel_values": values_of(n),
                "channel_versions": {},
                "versions_seen": {},
            }
            config = writer.put(config, checkpoint, {}, {})
            if values_of is many_writes:
                writer.put_writes(config, [("c", n + i / 7) for i in range(1_000)], "task")
    saver = make_saver(path=writer.path, memory_bytes=8 * 1024 * 1024)
    memory = saver._core.memory
    saver.get_tuple(config)
    memory.renew()
    gc.collect()
    tracemalloc.start()
    try:
        for n in range(25):
            with saver.log.database.reading() as connection:
                keys = saver.log.keys.find(connection, str(n), "")
                row = saver._core.views.history.latest(connection, keys[1])
                saver._gatherer(connection).gather(row)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = memory.records.used_bytes + memory.values.used_bytes
    assert 0 < taken < 2 * counted
    assert memory.used_bytes <= memory.max_bytes

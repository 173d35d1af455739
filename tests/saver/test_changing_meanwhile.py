"""What others change in the middle: of a listing between two pages, of a value that is being put."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer


@pytest.mark.parametrize("taken", [1, 5, 8])
def test_a_list_over_all_namespaces_gives_what_is_there_when_its_page_comes(twin: Any, taken: int) -> None:
    """It has looked ahead: at the first of each namespace, when it began."""
    for n in range(40):
        twin.put(f"9{n:02}", {"v": n})
    twin.put("001", {"v": "replaced later"}, ns="a")
    twin.put("002", {"v": "removed later"}, ns="b", metadata={"run_id": "gone"})
    twin.put("003", {"v": "hidden later"}, ns="c", metadata={"run_id": "gone"})
    twin.write("003", [("d", "what its child needs")], ns="c")
    twin.put("990", {}, parent="003", ns="c", versions={"d": "1"})
    twin.put("004", {"v": "stays"}, ns="d")
    twin.put("005", {"v": "in a namespace that goes, with its thread's others"}, ns="e", metadata={"run_id": "gone"})

    listing = twin.saver.list(twin.config(ns=None))
    seen = [next(listing) for _ in range(taken)]
    twin.put("001", {"v": "new"}, ns="a", metadata={"step": 7})
    twin.write("001", [("x", "new, too")], ns="a")
    twin.call("delete_for_runs", ["gone"])
    assert twin.get("003", ns="c") is not None  # hidden
    assert twin.get("002", ns="b") is None
    seen += listing

    ids = [found.checkpoint["id"] for found in seen]
    assert ids == sorted([*(f"9{n:02}" for n in range(40)), "990", "004", "001"], reverse=True)
    assert [found.checkpoint["channel_values"] for found in seen[-2:]] == [{"v": "stays"}, {"v": "new"}]
    assert seen[-1].metadata["step"] == 7
    assert seen[-1].pending_writes == [("task", "x", "new, too")]


def test_a_list_over_all_namespaces_stops_at_what_was_deleted_meanwhile(twin: Any) -> None:
    for ns in ("", "a", "b"):
        for n in range(20):
            twin.put(f"{n:03}", {"v": n}, ns=ns)
    listing = twin.saver.list(twin.config(ns=None))
    next(listing)
    twin.call("delete_thread", "t")
    rest = list(listing)
    assert [found.checkpoint["id"] for found in rest] == ["019"] * 2 + ["018"] * 3 + ["017"] * 2  # the first page


class Adding(JsonPlusSerializer):
    """While it serialises a value, another thread adds channels to the dict that the value is in."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] | None = None

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        values = self.values
        if values is not None and obj is values.get("first"):
            adding = threading.Thread(target=lambda: values.update({f"added {n}": n for n in range(50)}))
            adding.start()
            adding.join()
        return super().dumps_typed(obj)


def test_a_put_stores_the_channels_there_were_when_it_began_though_the_graph_goes_on(
    make_saver: Any, twin_of: Any
) -> None:
    """With durability="async" that is so: LangGraph hands over its checkpoint, and begins the next step."""
    serde = Adding()
    twin = twin_of(make_saver(serde=serde))
    checkpoint = twin.checkpoint("1", {}, {"first": "1", "second": "1"})
    values = checkpoint["channel_values"]
    values |= {"first": b"serialised first", "second": [1, 2]}
    serde.values = values
    twin.call("put", twin.config(), checkpoint, {}, {})
    assert len(values) == 52
    assert twin.values() == {"first": b"serialised first", "second": [1, 2]}

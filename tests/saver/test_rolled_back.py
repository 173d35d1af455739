"""What a transaction has added and rolled back is not remembered."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph_eventlog.eventlog import Kind, ProjectionError, RecordedEvent
from langgraph_eventlog.projections import Projection


class Refusing(Projection):
    """Fails at every copy, after the built-in projections have taken it in."""

    name = "refusing"
    schema_version = 1

    def reset(self) -> None:
        self.db.execute("CREATE TABLE refusing (n)")

    def apply(self, event: RecordedEvent) -> None:
        if event.kind is Kind.COPY:
            raise RuntimeError("no copies")


@pytest.mark.parametrize("where", [None, ":memory:"])
@pytest.mark.parametrize("how", ["copy", "fork"])
def test_threads_of_a_copy_that_failed_are_not_mixed_up_with_those_that_come_after(
    make_saver: Any, twin_of: Any, where: str | None, how: str
) -> None:
    """Their streams' keys are handed out again, to another thread."""
    twin = twin_of(make_saver(where, projections=[Refusing()]))
    twin.put("1", {"v": "of a"}, thread="a")
    twin.put("1", {"v": "of a's child"}, thread="a", ns="child", metadata={"parents": {"": "1"}})
    source = "a" if how == "copy" else twin.config("a")
    with pytest.raises(ProjectionError):
        twin.call(f"{how}_thread", source, "b")
    twin.put("2", {"v": "of other"}, thread="other")
    twin.put("2", {"v": "of other's child"}, thread="other", ns="child")
    assert twin.ids(twin.config("b", ns=None)) == []
    assert twin.get(thread="b") is None
    twin.put("3", {"v": "of b's child"}, thread="b", ns="child")
    twin.put("3", {"v": "of b"}, thread="b")
    for thread, id in (("a", "1"), ("other", "2"), ("b", "3")):
        assert twin.ids(twin.config(thread, ns=None)) == [id, id]
        assert twin.values(thread=thread) == {"v": f"of {thread}"}
        assert twin.values(thread=thread, ns="child") == {"v": f"of {thread}'s child"}
    assert sorted((info.thread_id, info.checkpoints) for info in twin.saver.threads()) == [
        ("a", 2),
        ("b", 2),
        ("other", 2),
    ]

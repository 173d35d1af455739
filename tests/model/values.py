"""What the rules draw from: few of everything, so that they meet; and such as are taken for each other."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

MESSAGE = AIMessage("said", id="m1", additional_kwargs={"k": [1]})
# Values that a careless comparison takes for each other, and those that can be changed in place.
VALUES: list[Any] = [0, False, 0.0, -0.0, None, "", b"", 1, True, 1.0, "1", {1, 2}, [1, 2], [], {}, {"a": 1, "b": 2}]
CHAT = [HumanMessage("hi", id=str(i)) for i in range(4)]
VALUES += [
    {"b": 2, "a": 1},
    {"n": [1, {"m": [True]}]},
    [MESSAGE],
    MESSAGE,
    "x" * 3000,
    CHAT,
]
CHANNELS = ["messages", "count", "d", "e", "__start__", "branch:to:n", "\u00fc", "nul\0in it"]
DELTAS = ["d", "e"]
# Greater and smaller as code points, not as UTF-16; with a NUL; and such as step() gives.
IDS = ["000", "001", "003", "009", "0010", "Z", "a", "a\0b", "\u00e9", "\uffff", "\U0001f600"]
THREADS: list[Any] = ["t", "t", "t", "u", 7, "7"]
TARGETS: list[Any] = [*THREADS, "c", "d", "e", "f", 9]
NAMESPACES = ["", "", None, "sub:1", "sub:1|deep"]
TASKS = [("a", ""), ("b", ""), ("B", ""), ("a", "~p"), ("c", "~p"), ("\u00e9", "\u00e9"), ("b", "P")]
WRITTEN = [*CHANNELS, "d", "d", "e", "__error__", "__scheduled__", "__interrupt__", "__resume__"]
RUNS = ["r1", "r2", 3, "r4", "r5", "r6"]
FIELDS: list[dict[str, Any]] = [
    {},
    {"a": {"b": 1, "c": None}, "x-y": [1, 2]},
    {"a.b": "1", "a": {"b": 2}},
    {"9": {"d": {"k": 1, "l": 2}}, "s": "nul\0 \ud800"},
    {"a": 1, "9": {"d": {"l": 2, "k": 1}}, "none": None},
]
FILTERS: list[dict[str, Any]] = [
    *(
        {"source": "loop"},
        {"a.b": 1},
        {"a.b": "1"},
        {"a.b": 2},
        {"a.b": None},
        {"a.c": None},
        {"x-y": [1, 2]},
        {"none": None},
    ),
    *(
        {"9.d": {"l": 2, "k": 1}},
        {"9.d.k": 1, "a": 1},
        {"a": {"c": None, "b": 1}},
        {"run_id": "r1", "source": "loop"},
        {"s": "\ud800"},
    ),
    *({"run_id": "3"}, {"run_id": 3, "a": 1}, {"a.b": 1.0, "source": "loop"}, {"a": True}, {"9.d.k": 1, "step": 1.0}),
    *({"step": 1}, {"step": "1"}, {"step": True, "source": "fork"}, {}, {"a'b": 1}, {"a b": 1}, {"": 1}, {"a\n": 1}),
]
# Metadata keys that are declared, one or the other at each opening: those of an earlier one stay.
DECLARED = [("a.b", "s"), ("a",), (), ("9.d.k", "none", "x-y", "a.b")]
ABOUT: list[dict[str, Any] | None] = [
    None,
    {},
    {"a": 1},
    {"a": True},
    {"a": None},
    {"b": {"c": [1]}},
    {"a": "1", "d": None},
]

# What a saver may remember, in bytes: of all that the machine puts, of one or two checkpoints, of none.
budgets = st.sampled_from([1 << 26, 1 << 26, 12_000, 0])
some = st.integers(0, 10_000)  # picks one of what is there


def from_list(of: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(of).map(copy.deepcopy)


edits = st.lists(
    st.tuples(
        st.sampled_from(CHANNELS),
        st.sampled_from(["set", "set", "mutate", "mutate", "again", "drop"]),
        from_list(VALUES),
        st.booleans(),
    ),
    max_size=4,
)
batches = st.lists(st.tuples(st.sampled_from(WRITTEN), from_list(VALUES)), max_size=4)
plans = st.tuples(
    st.sampled_from(["t", "u"]),
    st.sampled_from(["", "", "sub:1"]),
    st.integers(1, 5),
    st.sampled_from([None, 0, 1, 2]),
    st.permutations(RUNS),
    st.lists(st.tuples(st.sampled_from(DELTAS), from_list(VALUES)), min_size=1, max_size=3),
)
parents = st.sampled_from(["latest", "latest", "latest", "any", "any", "pool", "", None])

"""Configs, and what saver and model give, as text that can be compared."""

from __future__ import annotations

import copy
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.base import CheckpointTuple

__all__ = ["config_of", "exact", "key_of", "mutate", "same", "seen", "spoil", "told"]


def same(found: Any, expected: Any) -> None:
    assert found == expected, f"\nfound    {found}\nexpected {expected}"


def config_of(thread: Any, ns: str | None, checkpoint_id: str | None) -> dict[str, Any]:
    named = {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
    return {"configurable": {key: value for key, value in named.items() if value is not None}}


def key_of(one: CheckpointTuple) -> tuple[str, str, str]:
    configurable = one.config["configurable"]
    return configurable["checkpoint_id"], str(configurable["thread_id"]), configurable["checkpoint_ns"]


def told(metadata: Any) -> str:
    return repr(sorted(metadata.items()))


def seen(one: CheckpointTuple) -> tuple[str, ...]:
    """A tuple as text: two are the same if everything in them is, types and the order inside of values included."""
    fields = {key: sorted(value.items()) if isinstance(value, dict) else value for key, value in one.checkpoint.items()}
    pending = [tuple(write) for write in one.pending_writes or []]
    return (
        exact(one.config),
        exact(sorted(fields.items())),
        told(one.metadata),
        exact(one.parent_config),
        exact(pending),
    )


def exact(value: Any) -> str:
    """Like repr, which tells 1, 1.0 and True apart; of messages, whose own is slow, too."""
    match value:
        case list():
            return f"[{', '.join([exact(item) for item in value])}]"
        case tuple():
            return f"({', '.join([exact(item) for item in value])})"
        case dict():
            return f"{{{', '.join([f'{key!r}: {exact(item)}' for key, item in value.items()])}}}"
        case BaseMessage():
            return f"{type(value).__name__}{exact(vars(value))}"
    return repr(value)


def mutate(value: Any, more: Any) -> bool:
    """Change a value in place, if it can be."""
    if isinstance(value, list):
        if len(value) % 3 == 0 and value and isinstance(value[0], HumanMessage):
            value[0].additional_kwargs.setdefault("k", []).append(1)
        else:
            value.append(copy.deepcopy(more))
    elif isinstance(value, dict):
        value["more"] = copy.deepcopy(more)
    elif isinstance(value, AIMessage):
        value.additional_kwargs["k"].append(1)
    else:
        return False
    return True


def spoil(one: CheckpointTuple) -> None:
    """Change what was handed out: nobody else may notice."""
    for value in [*one.checkpoint["channel_values"].values(), *(write[2] for write in one.pending_writes or [])]:
        mutate(value, "spoilt")
    one.checkpoint["channel_values"].clear()
    one.checkpoint["channel_versions"].clear()
    one.metadata.clear()

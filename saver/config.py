"""Reading LangGraph's configs: which thread, namespace and checkpoint is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from ..eventlog.errors import ConfigError

__all__ = ["Address", "config_of", "text", "texts"]


class Address(NamedTuple):
    """What a config names. `given_thread_id` is the thread id as it was given, which configs handed back repeat."""

    thread_id: str
    checkpoint_ns: str | None
    checkpoint_id: str | None
    given_thread_id: Any

    @classmethod
    def of(cls, config: RunnableConfig | None) -> Address:
        """Read a config. An empty checkpoint_id is none.

        Raises:
            ConfigError: it has no thread_id, or an id that cannot be stored.
        """
        # Nearly all are dicts, and asking an abstract class takes longer than all the rest.
        is_mapping = type(config) is dict or isinstance(config, Mapping)
        configurable = config.get("configurable") if config is not None and is_mapping else None
        if not configurable or configurable.get("thread_id") is None:
            raise ConfigError(
                'the config names no thread: pass {"configurable": {"thread_id": "..."}} when invoking the graph'
            )
        thread_id = given = configurable["thread_id"]
        checkpoint_ns = configurable.get("checkpoint_ns")
        checkpoint_id = configurable.get("checkpoint_id") or None
        # Nearly all are plain text already.
        if type(given) is not str or not given.isascii():
            thread_id = text(given, "thread_id")
        if checkpoint_ns is not None and (type(checkpoint_ns) is not str or not checkpoint_ns.isascii()):
            checkpoint_ns = text(checkpoint_ns, "checkpoint_ns")
        if checkpoint_id is not None and (type(checkpoint_id) is not str or not checkpoint_id.isascii()):
            checkpoint_id = text(checkpoint_id, "checkpoint_id")
        return cls(thread_id, checkpoint_ns, checkpoint_id, given)

    @property
    def namespace(self) -> str:
        """The namespace, the root one if none is named."""
        return self.checkpoint_ns or ""

    def config(self, checkpoint_id: str, checkpoint_ns: str | None = None) -> RunnableConfig:
        """Give the config of a checkpoint in this thread."""
        return config_of(
            self.given_thread_id, self.namespace if checkpoint_ns is None else checkpoint_ns, checkpoint_id
        )


def config_of(thread_id: Any, checkpoint_ns: str, checkpoint_id: str) -> RunnableConfig:
    """Give the config that names a checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns, "checkpoint_id": checkpoint_id}}


def text(value: Any, what: str) -> str:
    """Give an id as text: ids compare as str().

    Raises:
        ConfigError: it is None, or holds a lone surrogate, which no database column takes.
    """
    if value is None:
        raise ConfigError(f"{what} is None")
    as_text = str(value)
    if not as_text.isascii():
        try:
            as_text.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{what} holds a lone surrogate, which cannot be stored: {as_text!a}") from None
    return as_text


def texts(values: Iterable[Any], what: str) -> list[str]:
    """Give several ids as text, each once.

    Raises:
        ConfigError: it is one str, whose letters would be taken for ids, or one of them is no id.
    """
    if isinstance(values, str | bytes):
        raise ConfigError(f"{what} is a sequence of ids, not one of them: [{values!r}]")
    return list(dict.fromkeys(text(value, what) for value in values))

"""Tools that search Python's own documentation, as it is installed with every Python."""

from __future__ import annotations

import re
from pydoc_data.topics import topics

from langchain_core.tools import tool

__all__ = ["TOOLS", "compare_topics", "find_topics", "read_topic", "topic_names"]

_MAX_FOUND = 5
_OPENING = 1200


def topic_names() -> list[str]:
    """Give the names of all topics, sorted."""
    return sorted(topics)


def _words(topic: str) -> list[str]:
    return re.findall(r"[a-z]{4,}", topics[topic].lower())


@tool
def find_topics(word: str) -> str:
    """Find the documentation topics that mention a word, the most mentions first."""
    mentions = {name: _words(name).count(word.lower()) for name in topic_names()}
    found = sorted((name for name, n in mentions.items() if n), key=lambda name: (-mentions[name], name))
    return ", ".join(f"{name} ({mentions[name]})" for name in found[:_MAX_FOUND]) or "none"


@tool
def read_topic(name: str) -> str:
    """Read the opening of a documentation topic."""
    text = topics.get(name)
    if text is None:
        return f"There is no topic {name}."
    return text if len(text) <= _OPENING else text[: text.rfind(" ", 0, _OPENING)] + " ..."


@tool
def compare_topics(first: str, second: str) -> str:
    """Compare two documentation topics: their lengths, and the words that only one of them has."""
    ours, theirs = _words(first), _words(second)

    def only(words: list[str], others: list[str]) -> str:
        own = sorted(set(words) - set(others), key=lambda word: (-words.count(word), word))
        return ", ".join(own[:8]) or "nothing"

    return (
        f"{first} has {len(ours)} words and {second} {len(theirs)}. "
        f"Only {first} speaks of {only(ours, theirs)}; only {second} of {only(theirs, ours)}."
    )


TOOLS = [find_topics, read_topic, compare_topics]

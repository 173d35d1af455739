"""Bodies of put and put_writes events, as the saver makes them of synthetic threads."""

from __future__ import annotations

import random
import re
from typing import Any, cast

from ...eventlog.record import decode
from ...saver import EventLogSaver
from . import prose
from .messages import ALPHABET, Conversation, command, interrupt, moment, sends, thing

__all__ = ["LARGEST_BODY_BYTES", "samples"]

# Of larger ones a dictionary of this size would not make less.
LARGEST_BODY_BYTES = 4096

_NODES = (
    "agent",
    "model",
    "tools",
    "chatbot",
    "retrieve",
    "generate",
    "supervisor",
    "planner",
    "call_model",
    "research",
    "grade",
    "human",
    "summarize",
)
_CHANNELS = (
    "context",
    "documents",
    "question",
    "answer",
    "plan",
    "todos",
    "files",
    "remaining_steps",
    "next",
    "summary",
    "user",
    "query",
    "results",
    "steps",
    "structured_response",
    "generation",
    "llm_input_messages",
    "jump_to",
)
# What is different in each record must not be the same in two samples: it would be kept.
_RANDOM = re.compile(
    rb"(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    rb"|(?<=\.0\.)(?P<digits>[0-9]{12,20})(?![0-9])"
    rb"|(?P<hex>(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f.]))"
    rb"|(?<=all_|olu_|msg_|mpl-)(?P<key>[A-Za-z0-9]{24,29})"
    rb"|(?<=fp_)(?P<fingerprint>[0-9a-f]{10})"
    rb"|(?P<time>20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6})"
)
_DIGITS = dict.fromkeys(("uuid", "hex", "fingerprint"), b"0123456789abcdef")
_DIGITS |= dict.fromkeys(("digits", "time"), b"0123456789") | {"key": ALPHABET.encode()}


def samples(seed: int, threads: int) -> list[bytes]:
    """Give the bodies of so many threads, the small ones; random parts are others in each."""
    chance = random.Random(seed)
    found = []
    for number in range(threads):
        # A log for each: positions stay small, as in most records' distances to their bases.
        with EventLogSaver(":memory:") as saver:
            _Thread(saver, random.Random(chance.getrandbits(64)), number).run()
            with saver.log.database.reading() as connection:
                rows = connection.execute("SELECT record FROM event ORDER BY position").fetchall()
        bodies = (decode(cast("bytes", record))[1] for (record,) in rows)
        found += [_with_others(body, chance) for body in bodies if len(body) <= LARGEST_BODY_BYTES]
    return found


def without_random_parts(body: bytes) -> bytes:
    """Give what bodies have in common: ids, times and the like taken out."""
    return _RANDOM.sub(b"", body)


def _with_others(body: bytes, chance: random.Random) -> bytes:
    """Give the body with other random parts, the same for the same."""
    made: dict[bytes, bytes] = {}

    def other(match: re.Match[bytes]) -> bytes:
        old = match.group()
        if old not in made:
            digits = _DIGITS[match.lastgroup or ""]
            new = [chance.choice(digits) if byte in digits else byte for byte in old]
            if match.lastgroup == "time":
                new[:2] = b"20"
            made[old] = bytes(new)
        return made[old]

    return _RANDOM.sub(other, body)


class _Thread:
    """One thread: some steps of a graph, as LangGraph puts them."""

    def __init__(self, saver: EventLogSaver, chance: random.Random, number: int) -> None:
        self._saver = saver
        self._chance = chance
        self._talk = Conversation(chance)
        self._messages: list[Any] = [self._talk.system()] if chance.random() < 0.2 else []
        self._values: dict[str, Any] = {}
        self._versions: dict[str, Any] = {}
        self._seen: dict[str, Any] = {"__input__": {}}
        self._step = -1
        self._in_ints = chance.random() < 0.25
        self._nodes = chance.sample(_NODES, chance.choice((1, 2, 2, 3, 4)))
        self._own = chance.sample(_CHANNELS, chance.choice((0, 0, 1, 2, 3)))
        ns = "" if chance.random() < 0.85 else f"{chance.choice(self._nodes)}:{self._talk.id()}"
        self._config: Any = {
            "configurable": {"thread_id": chance.choice((self._talk.id(), str(number))), "checkpoint_ns": ns}
        }
        self._parents = {"": self._talk.id()} if ns else {}
        self._metadata = self._more_metadata()
        self._version = chance.choice((1, 2, 4, 4, 4))

    def _more_metadata(self) -> dict[str, Any]:
        more: dict[str, Any] = {}
        for key, value in (
            ("thread_id", self._config["configurable"]["thread_id"]),
            ("run_id", self._talk.id()),
            ("user_id", self._chance.choice((self._talk.id(), f"user-{self._chance.randrange(10_000)}"))),
            ("langgraph_auth_user_id", ""),
            ("assistant_id", self._talk.id()),
            ("graph_id", self._chance.choice(("agent", "chat", "supervisor"))),
            ("langgraph_version", self._chance.choice(("1.0.5", "1.1.2", "1.2.0"))),
            ("langgraph_api_version", "0.5.4"),
            ("created_by", "system"),
            ("run_attempt", 1),
            ("assistant", prose.words(self._chance)),
        ):
            if self._chance.random() < (0.6 if key in ("run_id", "thread_id") else 0.2):
                more[key] = value
        if self._parents and self._chance.random() < 0.5:
            ns = self._config["configurable"]["checkpoint_ns"]
            more |= {
                "langgraph_step": 1,
                "langgraph_node": self._nodes[0],
                "langgraph_triggers": [f"branch:to:{self._nodes[0]}"],
                "langgraph_path": ["__pregel_pull", self._nodes[0]],
                "langgraph_checkpoint_ns": ns,
                "checkpoint_ns": ns,
            }
        return more

    def run(self) -> None:
        """Put an input, and then what nodes make of it, some times over."""
        for _ in range(self._chance.choice((1, 2, 2, 3))):
            self._put("input", {"__start__": {"messages": [self._talk.question()]}}, ["__start__"])
            question = self._values["__start__"]["messages"]
            first = self._nodes[0]
            self._write("__start__", [("messages", question), (f"branch:to:{first}", None)])
            del self._values["__start__"]
            self._messages = [*self._messages, *question]
            self._put(
                "loop",
                {"messages": self._messages, f"branch:to:{first}": None},
                ["messages", f"branch:to:{first}"],
                ran="__start__",
            )
            for i in range(self._chance.randrange(2, 5)):
                self._node(self._nodes[i % len(self._nodes)])

    def _node(self, node: str) -> None:
        said = self._chance.choice(
            (
                lambda: [self._talk.calling()],
                lambda: [self._talk.answer()],
                self._talk.found,
                list,
                lambda: [self._talk.removal()] if self._chance.random() < 0.2 else [self._talk.answer()],
            )
        )()
        following = self._chance.choice(self._nodes)
        trigger = f"branch:to:{following}"
        new: dict[str, Any] = {}
        if said:
            new["messages"] = said if self._chance.random() < 0.8 or len(said) > 1 else said[0]
        for channel in self._own:
            if self._chance.random() < 0.5:
                new[channel] = thing(self._chance)
        writes = [*new.items(), (trigger, None)]
        if self._chance.random() < 0.15:
            started = sends(self._chance)
            writes += [("__pregel_tasks", send) for send in started]
            self._values["__pregel_tasks"] = started
        else:
            self._values.pop("__pregel_tasks", None)
        self._write(node, writes)
        self._special(node)
        if said:
            self._messages = [*self._messages, *said]
            new["messages"] = self._messages
        for old in [name for name in self._values if name.startswith("branch:to:")]:
            del self._values[old]
        self._put("loop", {**new, trigger: None}, [*new, trigger], ran=node)

    def _special(self, node: str) -> None:
        kind = self._chance.random()
        if kind < 0.06:
            self._write(node, [("__interrupt__", [interrupt(self._chance)])])
            self._write(node, [("__resume__", [self._chance.choice(("yes", True, {"type": "accept", "args": None}))])])
        elif kind < 0.09:
            self._write(node, [("__error__", f"ValueError('{prose.sentence(self._chance)}')")])
        elif kind < 0.12:
            self._write(node, [(self._chance.choice(("result", "__return__")), command(self._chance))])
        elif kind < 0.15:
            self._write(node, [("__no_writes__", None)])

    def _write(self, node: str, writes: list[tuple[str, Any]]) -> None:
        if "checkpoint_id" in self._config["configurable"]:
            path = self._chance.choice(
                (
                    f"~__pregel_pull, {node}",
                    f"~__pregel_pull, {node}",
                    "",
                    f"~__pregel_push, {self._chance.randrange(3):010}, {self._chance.randrange(3):010}",
                )
            )
            self._saver.put_writes(self._config, writes, self._talk.id(), path)

    def _put(self, source: str, values: dict[str, Any], updated: list[str], ran: str = "") -> None:
        self._values |= values
        if ran:
            read = "__start__" if ran == "__start__" else f"branch:to:{ran}"
            if read in self._versions:
                self._seen = {**self._seen, ran: {read: self._versions[read]}}
        number = self._step + 2
        version: Any = number if self._in_ints else f"{number:032}.{self._chance.random():016}"
        self._versions = {**self._versions, **dict.fromkeys(updated, version)}
        checkpoint: Any = {
            "v": self._version,
            "ts": moment(self._chance),
            "id": self._talk.id(),
            "channel_values": dict(self._values),
            "channel_versions": self._versions,
            "versions_seen": self._seen,
            "updated_channels": sorted(updated),
        }
        if self._version < 4:
            checkpoint["pending_sends"] = []
        metadata: Any = {"source": source, "step": self._step, "parents": self._parents, **self._metadata}
        self._config = self._saver.put(self._config, checkpoint, metadata, dict.fromkeys(updated, version))
        self._step += 1

"""Stored bytes run nothing under a safe serializer, nor outside of it; no object gets past another's allowlist."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import ListOf, NewEvent, Put, PutWrites, Whole, Write
from langgraph_eventlog.eventlog.errors import DecodingError, EncodingError
from langgraph_eventlog.eventlog.plain import pack
from langgraph_eventlog.saver import EventLogSaver

STRICT = {"allowed_msgpack_modules": None}
ran: list[Any] = []


def trap(*args: Any, **options: Any) -> str:
    """What every payload calls."""
    ran.append((args, options))
    return "ran"


class Trap:
    def __init__(self, *args: Any, **options: Any) -> None:
        trap(*args, **options)

    construct = model_construct = model_validate_json = parse = classmethod(trap)

    def __reduce__(self) -> Any:
        return trap, ("pickled",)


@pytest.fixture(autouse=True)
def nothing_ran() -> Iterator[None]:
    """Payloads name this module, under a name of its own, so that there is something to be imported and run."""
    sys.modules["hostile_traps"] = sys.modules[__name__] if __name__ in sys.modules else _this_module()
    ran.clear()
    yield
    del sys.modules["hostile_traps"]


def _this_module() -> Any:
    import types

    module = types.ModuleType("hostile_traps")
    module.__dict__.update(globals())
    return module


def ext(code: int, *parts: Any) -> bytes:
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


M = "hostile_traps"
# CVE-2026-28277: extension types of JsonPlusSerializer's msgpack, by which objects are made of what the bytes name.
MSGPACK = {
    "constructor, one argument": ext(0, M, "trap", "x"),
    "constructor, arguments": ext(1, M, "trap", ("x", 1)),
    "constructor, keywords": ext(2, M, "trap", {"x": 1}),
    "method": ext(3, M, "Trap", "x", "parse"),
    "pydantic 1": ext(4, M, "Trap", {"x": 1}),
    "pydantic 2": ext(5, M, "Trap", {"x": 1}, "model_validate_json"),
    "os.system": ext(0, "os", "system", "touch PWNED"),
    "builtins.eval": ext(0, "builtins", "eval", "__import__('os').system('touch PWNED')"),
    "subprocess": ext(1, "subprocess", "check_output", (["touch", "PWNED"],)),
    "a method of what is safe": ext(3, "pathlib", "Path", "PWNED", "touch"),
    "in a list": ormsgpack.packb([1, ormsgpack.Ext(0, ormsgpack.packb((M, "trap", "x")))]),
    "in a dict": ormsgpack.packb({"a": ormsgpack.Ext(0, ormsgpack.packb((M, "trap", "x")))}),
    "in another's arguments": ormsgpack.packb(
        ormsgpack.Ext(0, ormsgpack.packb(("builtins", "set", [ormsgpack.Ext(0, ormsgpack.packb((M, "trap", "x")))])))
    ),
    "in a snapshot": ormsgpack.packb(ormsgpack.Ext(7, ext(0, M, "trap", "x"))),
}
# CVE-2025-64439, and the like: the "json" form, which the serializer no longer writes, but reads.
JSON = {
    "lc 2": {"lc": 2, "type": "constructor", "id": [M, "trap"], "args": ["x"]},
    "lc 2, os.system": {"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "touch PWNED"}},
    "lc 2, method": {"lc": 2, "type": "constructor", "id": [M, "Trap"], "method": "parse", "args": ["x"]},
    "lc 2, methods": {"lc": 2, "type": "constructor", "id": [M, "Trap"], "method": [None, "construct"], "kwargs": {}},
    "lc 2, a method of what is safe": {
        "lc": 2,
        "type": "constructor",
        "id": ["pathlib", "Path"],
        "method": "touch",
        "args": ["PWNED"],
    },
    "lc 1": {"lc": 1, "type": "constructor", "id": [M, "Trap"], "kwargs": {"x": 1}},
    "lc 1, langchain's": {"lc": 1, "type": "constructor", "id": ["langchain", "hostile_traps", "Trap"], "kwargs": {}},
    "lc 1, secret": {"lc": 1, "type": "secret", "id": ["HOSTILE_SECRET"]},
    "in a list": [{"lc": 2, "type": "constructor", "id": [M, "trap"], "args": ["x"]}],
    "surrogate": {"\ud800": {"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ["touch PWNED"]}},
}
PAYLOADS = {
    **{f"msgpack, {name}": Whole("msgpack", data) for name, data in MSGPACK.items()},
    **{f"json, {name}": Whole("json", json.dumps(value).encode()) for name, value in JSON.items()},
    "pickle": Whole("pickle", pickle.dumps(("x",)).replace(b"x", b"x")),
    "pickle, os.system": Whole("pickle", b"cos\nsystem\n(S'touch PWNED'\ntR."),
    "pickle, trap": Whole("pickle", b"chostile_traps\ntrap\n(S'x'\ntR."),
    "no such tag": Whole("eval", b"__import__('os').system('touch PWNED')"),
}


def planted(saver: EventLogSaver, payload: Whole) -> None:
    """Append it everywhere where a value can be, with digests and links that are right, as a thief of the file can."""
    where = "t", ""
    metadata = pack({"step": 1, "evil": payload, "nested": [{"evil": payload}]})
    none = Whole("null", b"")
    versions = Whole("msgpack", ormsgpack.packb({"v": "1"}))
    channels = {"v": payload, "list": ListOf((none, payload))}
    put = Put("1", None, metadata, channels, versions, Whole("msgpack", b"\x80"), {"v": 4, "ts": "x"})
    for event in (
        put,
        Put("2", "1", pack({}), {"v": none}, payload, payload, {"v": 4, "ts": "x"}, rest=payload),
        PutWrites("1", "task", "", (Write("v", 0, payload), Write("w", 1, payload))),
    ):
        saver.log.append(NewEvent(event, *where))


def read_everything(saver: EventLogSaver, tools: Any) -> None:
    """Each call may give plain data or say that it cannot be decoded, and nothing else."""
    calls: list[Callable[[], Any]] = [
        lambda: saver.get_tuple(tools.config("t", "1")),
        lambda: saver.get_tuple(tools.config("t", "2")),
        lambda: list(saver.list(None)),
        lambda: list(saver.list(None, filter={"evil": "x", "nested": [1]})),
        lambda: saver.get_delta_channel_history(config=tools.config("t", "2"), channels=["v", "list"]),
        lambda: saver.put(tools.config("t", "1"), tools.checkpoint("3", {"v": 1, "list": [None, 2]}), {}, {}),
        lambda: saver.put(tools.config("t", "2"), tools.checkpoint("4", {"v": 1}), {}, {}),
        lambda: list(saver.threads()),
        lambda: saver.fork_thread(tools.config("t", "1"), f"fork {saver.log.head().position}"),
    ]
    for call in calls * 2:  # what is remembered runs nothing either
        with contextlib.suppress(DecodingError):
            call()


@pytest.mark.parametrize("name", PAYLOADS)
def test_planted_bytes_run_nothing_under_a_safe_serializer(
    name: str, make_saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOSTILE_SECRET", "a secret of the environment")
    saver = make_saver(serde=JsonPlusSerializer(**STRICT))
    planted(saver, PAYLOADS[name])
    read_everything(saver, tools)
    clone = saver.with_allowlist([("somewhere", "Else")])
    assert clone is not saver
    read_everything(clone, tools)
    saver.rebuild()
    assert list(saver.log.verify()) == []
    assert ran == []
    assert not (tmp_path / "PWNED").exists()
    assert "a secret of the environment" not in repr(list(_decodable(saver, tools)))


def _decodable(saver: EventLogSaver, tools: Any) -> Iterator[Any]:
    for id in ("1", "2"):
        with contextlib.suppress(DecodingError):
            yield saver.get_tuple(tools.config("t", id))


@pytest.mark.parametrize("name", PAYLOADS)
def test_planted_bytes_run_nothing_but_what_the_serializer_runs(
    name: str, make_saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: Any
) -> None:
    """What does not decode values never runs any: the log, the projections, verify, rebuild, deleting, copying."""
    monkeypatch.chdir(tmp_path)

    class Refusing(JsonPlusSerializer):
        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            raise AssertionError("nobody asked for a value")

    saver = make_saver(serde=Refusing(), indexed_metadata=["evil"])
    planted(saver, PAYLOADS[name])
    assert len(list(saver.log.read())) == 3
    for event in saver.log.read():
        saver.log.values(event)
        repr(event)
    saver.rebuild()
    assert list(saver.log.verify()) == []
    saver.copy_thread("t", "copy")
    saver.prune(["copy"])
    saver.delete_for_runs(["x"])
    saver.delete_thread("t")
    assert ran == []
    assert not (tmp_path / "PWNED").exists()


def test_the_payloads_are_live(make_saver: Any, monkeypatch: pytest.MonkeyPatch, tools: Any) -> None:
    """Under a serializer that allows everything, as LangGraph's default still does for msgpack, they run."""
    saver = make_saver(serde=JsonPlusSerializer(allowed_msgpack_modules=True, allowed_json_modules=True))
    for name in ("msgpack, constructor, one argument", "msgpack, pydantic 2", "msgpack, in a list", "json, lc 2"):
        ran.clear()
        planted(saver, PAYLOADS[name])
        read_everything(saver, tools)
        assert ran, name
    pickling = make_saver(serde=JsonPlusSerializer(pickle_fallback=True))
    ran.clear()
    planted(pickling, PAYLOADS["pickle, trap"])
    read_everything(pickling, tools)
    assert ran


def test_a_value_that_looks_like_a_constructor_stays_a_value(twin_values: Any) -> None:
    """The payloads of the "json" form as state, as a user can type them in: dicts, not what they describe."""
    assert twin_values(JSON["lc 2"]) == JSON["lc 2"]
    assert twin_values([JSON["lc 1"], JSON["lc 2, method"]]) == [JSON["lc 1"], JSON["lc 2, method"]]
    # Surrogates, which once led to the "json" form.
    assert twin_values({"x": "\ud800", "y": JSON["lc 2, os.system"]})["y"] == JSON["lc 2, os.system"]
    with contextlib.suppress(EncodingError):
        twin_values({"\ud800": JSON["lc 2, os.system"]})
    assert ran == []


@pytest.fixture
def twin_values(make_saver: Any, tools: Any) -> Callable[[Any], Any]:
    saver = make_saver(serde=JsonPlusSerializer(**STRICT))

    def through(value: Any) -> Any:
        saver.put(tools.config("t"), tools.checkpoint("1", {"v": value}), {}, {})
        saver.put(tools.config("t", "1"), tools.checkpoint("2", {"v": value, "w": [value]}), {}, {})
        for event in saver.log.read():
            assert all(tag != "json" for tag in _tags(saver.log.values(event)))
        found = saver.get_tuple(tools.config("t", "2"))
        assert found is not None
        return found.checkpoint["channel_values"]["v"]

    return through


def _tags(value: Any) -> Iterator[str]:
    if isinstance(value, Whole):
        yield value.tag
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ():
        yield from _tags(part)


# Allowlists.


@dataclass
class Mine:
    x: Any = 1


@dataclass
class Yours:
    x: Any = 1


def state() -> dict[str, Any]:
    """Every shape that is remembered in a way of its own: messages, lists of them, dicts, and what is in them."""
    mine, yours = Mine(), Yours(Mine())
    message = AIMessage("hello", id="1", additional_kwargs={"mine": mine, "yours": yours})
    plain = [HumanMessage(f"{n}" * 40, id=f"{n}") for n in range(3)]
    return {
        "mine": mine,
        "yours": yours,
        "list": [mine, yours, {"deep": [mine, yours]}],
        "message": message,
        "messages": [*plain, message],
        "dict": {"mine": mine, "yours": yours, "message": message},
    }


def types_in(value: Any, seen: set[type] | None = None) -> set[type]:
    """Every class of which an object can be reached."""
    seen = set() if seen is None else seen
    if isinstance(value, Mine | Yours):
        seen.add(type(value))
    if isinstance(value, dict):
        parts: Any = value.values()
    elif isinstance(value, list | tuple | set):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, type) else ()
    for part in parts:
        types_in(part, seen)
    return seen


def everything_read(saver: EventLogSaver, tools: Any) -> list[Any]:
    last = tools.config("t", "3")
    return [
        saver.get_tuple(last),
        *saver.list(None),
        *saver.list(tools.config("t")),
        saver.get_delta_channel_history(config=last, channels=list(state())),
        *saver.threads(),
    ]


@pytest.mark.parametrize(
    ("encrypted", "writer", "first"),
    [*((False, writer, first) for writer in range(3) for first in range(3)), (True, 1, 2), (True, 2, 1)],
)
def test_with_warm_memory_on_all_sides_each_gets_what_its_allowlist_admits(
    make_saver: Any, encrypted: bool, writer: int, first: int, tools: Any
) -> None:
    """Whoever puts, whoever reads first, and however often: nobody gets an object that another's allowlist let in."""
    serde: Any = JsonPlusSerializer(**STRICT)
    if encrypted:
        serde = EncryptedSerializer.from_pycryptodome_aes(serde=serde, key=b"k" * 16)
    base = make_saver(serde=serde)
    name = Mine.__module__
    savers = [base, base.with_allowlist([(name, "Mine")]), base.with_allowlist([(name, "Yours")])]
    admitted: list[set[type]] = [set(), {Mine}, {Yours}]
    parent = None
    for id in ("1", "2", "3"):
        where = tools.config("t", parent)
        put = savers[writer].put(where, tools.checkpoint(id, state()), {"mine": Mine(), "yours": [Yours()]}, {})
        savers[writer].put_writes(put, list(state().items()), "task")
        parent = id
    savers[writer].register_thread("t", "name", {"plain": 1})
    order = [first, *(n for n in range(3) if n != first)]
    for round_ in range(3):
        for n in order if round_ != 1 else order[::-1]:
            for found in everything_read(savers[n], tools):
                assert types_in(found) <= admitted[n]
            assert types_in(everything_read(savers[n], tools)) == admitted[n]
    # And what one puts again, having read it, is stored as what it was for that one.
    for n in order:
        values = savers[n].get_tuple(tools.config("t", "3")).checkpoint["channel_values"]
        savers[n].put(tools.config("t", "3"), tools.checkpoint(f"4{n}", values), {}, {})
    for n in order:
        for of in order:
            found = savers[n].get_tuple(tools.config("t", f"4{of}"))
            assert types_in(found) == admitted[n] & admitted[of]


def test_a_saver_is_strict_when_the_environment_says_so(tmp_path: Path, tools: Any) -> None:
    """LANGGRAPH_STRICT_MSGPACK, in a process of its own: it is read when LangGraph is imported."""
    code = """
import sys
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.eventlog import NewEvent, Put, Whole
import ormsgpack
payload = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("os", "system", "touch " + sys.argv[1] + "/PWNED"))))
with EventLogSaver(sys.argv[1] + "/agent.db") as saver:
    none = Whole("msgpack", bytes([0x80]))
    put = Put("1", None, bytes([0x80]), {"v": Whole("msgpack", payload)}, none, none, {})
    saver.log.append(NewEvent(put, "t", ""))
    found = saver.get_tuple({"configurable": {"thread_id": "t"}})
    print(type(found.checkpoint["channel_values"]["v"]).__name__)
"""
    os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
    try:
        done = tools.run_python(code, tmp_path)
    finally:
        del os.environ["LANGGRAPH_STRICT_MSGPACK"]
    assert done.stdout == "str\n"
    assert not (tmp_path / "PWNED").exists()


# Encryption by the serializer.


class Lying(JsonPlusSerializer):
    """Says that its plaintext is encrypted."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        tag, data = super().dumps_typed(obj)
        return f"{tag}+aes", data


def test_plaintext_that_the_log_calls_encrypted_is_refused(make_saver: Any, tools: Any) -> None:
    """In a channel, a list's element, a write, metadata: never decoded as it stands."""
    cipher = EncryptedSerializer.from_pycryptodome_aes(serde=JsonPlusSerializer(**STRICT), key=b"k" * 16)
    plain = Whole("msgpack+aes", ormsgpack.packb("plain"))
    good = Whole(*cipher.dumps_typed("secret"))
    versions = Whole("msgpack+aes", cipher.dumps_typed({})[1])
    saver = make_saver(serde=cipher)

    def put(id: str, **given: Any) -> None:
        fields = {"metadata": pack({}), "channels": {"v": good}, "rest": None, **given}
        data = Put(id, None, fields["metadata"], fields["channels"], versions, versions, {}, rest=fields["rest"])
        saver.log.append(NewEvent(data, "t", ""))

    put("good")
    assert saver.get_tuple(tools.config("t", "good")).checkpoint["channel_values"] == {"v": "secret"}
    put("channel", channels={"v": plain})
    put("element", channels={"v": ListOf((good, plain, good))})
    put("metadata", metadata=pack({"a": [plain]}))
    put("rest", rest=plain)
    put("write")
    saver.log.append(NewEvent(PutWrites("write", "task", "", (Write("v", 0, plain),)), "t", ""))
    for id in ("channel", "element", "metadata", "rest", "write"):
        for _ in range(2):
            with pytest.raises(DecodingError):
                saver.get_tuple(tools.config("t", id))
    lying = make_saver(serde=Lying())
    lying.put(tools.config("u"), tools.checkpoint("1", {"v": ["plain"]}), {}, {})
    with pytest.raises(DecodingError):
        saver.get_tuple(tools.config("u", "1"))


def test_ciphertext_that_was_changed_or_moved_is_refused(make_saver: Any, tools: Any) -> None:
    cipher = EncryptedSerializer.from_pycryptodome_aes(serde=JsonPlusSerializer(**STRICT), key=b"k" * 16)
    saver = make_saver(serde=cipher)
    tag, data = cipher.dumps_typed("secret")
    versions = Whole("msgpack+aes", cipher.dumps_typed({})[1])
    for n, changed in enumerate((data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:], data[:-1] + b"\0", b"")):
        put = Put(f"{n}", None, pack({}), {"v": Whole(tag, changed)}, versions, versions, {})
        saver.log.append(NewEvent(put, "t", ""))
        with pytest.raises(DecodingError):
            saver.get_tuple(tools.config("t", f"{n}"))


def test_what_is_blocked_is_heard_of(make_saver: Any, caplog: pytest.LogCaptureFixture, tools: Any) -> None:
    """LangGraph's own warning reaches the log, once for each type: cloning from memory does not swallow the first."""
    with caplog.at_level(logging.WARNING):
        saver = make_saver(serde=JsonPlusSerializer(**STRICT))
        planted(saver, Whole("msgpack", ext(0, "hostile_traps", f"unheard of {os.getpid()}", "x")))
        saver.get_tuple(tools.config("t", "1"))
    assert "Blocked deserialization" in caplog.text

"""What is in the state is in no error, no traceback, no log record and no warning of ours, unless asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import EventLogError, LogClosedError, opening
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.saver import EventLogSaver

# Too long to be cut short by a repr, and no word that an error could use by itself.
SECRET = "xyzzy-4711-plugh"


@dataclass
class Holder:
    """An object that no serializer takes, and that says what it holds when it is shown."""

    secret: str = SECRET
    lock: Any = None

    def __post_init__(self) -> None:
        self.lock = threading.Lock()


class Chatty(JsonPlusSerializer):
    """A serializer whose errors quote what they are about, as pydantic's do."""

    failing = False

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if self.failing:
            raise ValueError(f"cannot do {obj!r}")
        return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if self.failing:
            raise ValueError(f"cannot do {data!r}, which is {super().loads_typed(data)!r}")
        return super().loads_typed(data)


class Failing(Projection):
    name = "failing"
    schema_version = 1

    def reset(self) -> None:
        self.db.execute("CREATE TABLE failing (x TEXT)")

    def apply(self, event: Any) -> None:
        raise ZeroDivisionError


def values() -> dict[str, Any]:
    return {
        "text": SECRET,
        "list": [SECRET, {"inner": SECRET}],
        "dict": {"inner": SECRET, f"a key {SECRET}": [SECRET]},
        "bytes": SECRET.encode(),
    }


BAD: dict[str, Any] = {
    "object": Holder(),
    "in a dict": {"inner": SECRET, "holder": Holder()},
    "under a key": {f"a key: {SECRET}": Holder()},
    "under bytes": {SECRET.encode(): Holder()},
    "under a tuple": {(SECRET, 1): Holder()},
    "in a list": [SECRET, [SECRET, Holder()]],
    "surrogate": {f"{SECRET}\ud800": SECRET},
    "number": {"inner": [SECRET, 1 + 2j]},
    "large number": {"inner": SECRET, "n": 2**70},
    "function": lambda secret=SECRET: secret,
    "itself": (lambda d: d.update(d=d) or d)({"inner": SECRET}),
}


def said(e: BaseException) -> str:
    """All that is printed of an error, and its attributes."""
    one: BaseException | None = e
    text = "".join(traceback.format_exception(e)) + str(e) + repr(e) + repr(getattr(e, "__notes__", None))
    while one is not None:
        text += repr(vars(one)) + repr(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    # The lines of this file that a traceback quotes.
    return "\n".join(line for line in text.splitlines() if "SECRET" not in line)


class Provoked:
    """Calls that are to fail; what they say is looked through."""

    def __init__(self) -> None:
        self.errors: list[EventLogError] = []

    def __call__(self, call: Callable[[], Any], *, surely: bool = True) -> bool:
        """Tell whether it failed, as it has to if `surely`."""
        caught = None
        try:
            call()
        except EventLogError as e:
            caught = e
        assert caught is not None or not surely
        if caught is None:
            return False
        assert SECRET not in said(caught), said(caught)
        assert SECRET.encode().hex() not in said(caught)
        self.errors.append(caught)
        return True


@pytest.fixture
def provoke(caplog: pytest.LogCaptureFixture, recwarn: Any, capfd: Any) -> Any:
    provoked = Provoked()
    with caplog.at_level(logging.DEBUG):
        yield provoked
        assert provoked.errors
    assert not [record for record in caplog.records if SECRET in record.getMessage() + repr(vars(record))]
    assert not [each for each in recwarn if SECRET in str(each.message)]
    out, err = capfd.readouterr()
    assert SECRET not in out + err


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("chatty", [False, True])
def test_what_cannot_be_serialised_is_not_quoted(
    make_saver: Any, provoke: Provoked, what: str, chatty: bool, tools: Any
) -> None:
    saver = make_saver(serde=Chatty() if chatty else None)
    put = saver.put(tools.config("t"), tools.checkpoint("1", values()), {"m": SECRET}, {})
    if chatty:
        saver.serde.failing = True
    bad = BAD[what]
    calls: dict[str, Callable[[], Any]] = {
        "put": lambda: saver.put(put, tools.checkpoint("2", {**values(), "bad": bad}), {"m": SECRET}, {}),
        "write": lambda: saver.put_writes(put, [("bad", bad), ("text", SECRET)], "task"),
        "aput": lambda: asyncio.run(saver.aput(put, tools.checkpoint("3", {"bad": bad}), {}, {})),
        "metadata": lambda: saver.put(put, tools.checkpoint("4", {}), {"bad": bad, "m": SECRET}, {}),
        "thread": lambda: saver.register_thread("t", metadata={"bad": bad, "m": SECRET}),
    }
    failed = sum(provoke(call, surely=False) for call in calls.values())
    assert failed >= (1 if what in ("large number", "surrogate") and not chatty else 3)
    if chatty:
        saver.serde.failing = False


def test_what_cannot_be_read_is_not_quoted(make_saver: Any, provoke: Provoked, tools: Any, tmp_path: Path) -> None:
    """By another serializer, with another key; and damaged at each place of its records and rows."""
    saver = make_saver(serde=Chatty(), indexed_metadata=["m"], synchronous="NORMAL")
    metadata = {"m": SECRET, "n": {"inner": SECRET}, "o": [{1, SECRET}]}
    put = saver.put(tools.config("t"), tools.checkpoint("1", values()), metadata, {})
    saver.put_writes(put, list(values().items()), "task")
    saver.register_thread("t", "name", {"m": SECRET})
    reading = [
        lambda: saver.get_tuple(tools.config("t", "1")),
        lambda: list(saver.list(None)),
        lambda: saver.get_delta_channel_history(config=tools.config("t", "1"), channels=list(values())),
    ]
    saver.serde.failing = True
    for call in reading[:2]:
        provoke(call)
    saver.serde = EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16)
    saver.put(tools.config("t"), tools.checkpoint("2", values()), metadata, {})
    saver.serde = EncryptedSerializer.from_pycryptodome_aes(key=b"l" * 16)
    provoke(lambda: saver.get_tuple(tools.config("t", "2")))


def test_damage_is_not_quoted(make_saver: Any, provoke: Provoked, tools: Any) -> None:
    saver = make_saver(indexed_metadata=["m"], synchronous="NORMAL", memory_bytes=0)
    make_saver.damaged(saver.path)
    put = saver.put(tools.config("t"), tools.checkpoint("1", values()), {"m": SECRET}, {})
    saver.put_writes(put, list(values().items()), "task")
    with saver.log.database.exclusive() as connection:
        record = connection.execute("SELECT record FROM event WHERE position = 1").fetchone()[0]
        metadata = connection.execute("SELECT metadata FROM history_recent").fetchone()[0]
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
    for at in range(0, len(record), 7):
        changed = record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1 :]
        with saver.log.database.exclusive() as connection:
            connection.execute("UPDATE event SET record = ? WHERE position = 1", (changed,))
        provoke(lambda: saver.get_tuple(tools.config("t", "1")))
        provoke(lambda: list(saver.log.read()))
        for finding in saver.log.verify():
            assert SECRET not in str(finding) + repr(finding)
    with saver.log.database.exclusive() as connection:
        connection.execute("UPDATE event SET record = ? WHERE position = 1", (record,))
    for at in range(0, len(metadata), 3):
        changed = metadata[:at] + b"\xc1" + metadata[at + 1 :]
        with saver.log.database.exclusive() as connection:
            connection.execute("UPDATE history_recent SET metadata = ?", (changed,))
        provoke(lambda: list(saver.list(None)), surely=False)  # the byte may stand inside of a text
        for finding in saver.log.verify():
            assert SECRET not in str(finding) + repr(finding)


def test_what_else_can_fail_quotes_nothing(
    make_saver: Any, provoke: Provoked, tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy file, a full one, a projection's bug, a closed saver, a size, an id, a filter's value."""
    saver = make_saver(busy_timeout_ms=10)
    put = saver.put(tools.config("t"), tools.checkpoint("1", values()), {"m": SECRET}, {})
    again: Callable[[], Any] = lambda: saver.put(put, tools.checkpoint("2", values()), {"m": SECRET}, {})  # noqa: E731
    other = make_saver(saver.path, busy_timeout_ms=10)
    with other.log.database.writing():
        provoke(again)
    with saver.log.database.exclusive() as connection:
        connection.pragma("max_page_count", connection.pragma("page_count"))
        large = {"bytes": SECRET.encode() + __import__("os").urandom(200_000)}
        provoke(lambda: saver.put(put, tools.checkpoint("2", large), {"m": SECRET}, {}))
        connection.pragma("max_page_count", 2**31)
    reader = make_saver(saver.path, read_only=True)
    provoke(lambda: reader.put(put, tools.checkpoint("2", values()), {"m": SECRET}, {}))
    from langgraph_eventlog.eventlog import record

    monkeypatch.setattr(record, "MAX_BODY_BYTES", 10)
    provoke(again)
    monkeypatch.undo()
    provoke(lambda: saver.put(tools.config("t\ud800"), tools.checkpoint("2", values()), {"m": SECRET}, {}))
    provoke(lambda: saver.put_writes(tools.config("t"), [("text", SECRET)], "task"))
    provoke(lambda: saver.list(None, filter={"bad key": SECRET}))
    provoke(lambda: saver.fork_thread(tools.config("t", "1"), "t", metadata={"m": SECRET}))
    with pytest.raises(EventLogError) as caught:
        make_saver(projections=[Failing()])
    assert SECRET not in said(caught.value)
    saver.close()
    provoke(again)
    assert isinstance(provoke.errors[-1], LogClosedError)
    assert SECRET not in repr(saver) + repr(saver.log)
    assert opening.APPLICATION_ID


def test_a_forgotten_saver_is_named_and_what_it_holds_is_not(tmp_path: Path, tools: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        saver = EventLogSaver(tmp_path / "agent.db")
        saver.put(tools.config("t"), tools.checkpoint("1", values()), {"m": SECRET}, {})
        del saver
        import gc

        gc.collect()
    messages = [str(each.message) for each in caught if each.category is ResourceWarning]
    assert any("agent.db" in message for message in messages)
    assert not any(SECRET in message for message in messages)

"""A key encrypts all of the file, or is an error; nothing that is written beside it, or said of it, betrays either."""

from __future__ import annotations

import base64
import multiprocessing
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import ConfigError, EventLog, EventLogError, LogOpenError, NotAnEventLogError, looking
from langgraph_eventlog.eventlog.encryption import Key, can_encrypt
from langgraph_eventlog.saver import EventLogSaver, rekey

Opened = Callable[..., EventLogSaver]
needs_cipher = pytest.mark.skipif(not can_encrypt(), reason="the plain build of apsw")
needs_plain_build = pytest.mark.skipif(can_encrypt(), reason="the build of apsw that can encrypt")


@needs_plain_build
def test_the_plain_build_refuses_a_key_and_names_the_command(tmp_path: Path, key: str | bytes) -> None:
    path = tmp_path / "folder" / "agent.db"
    for attempt in (
        lambda: EventLog(path, key=key),
        lambda: EventLogSaver(path, key=key),
        lambda: EventLogSaver(":memory:", key=key),
        lambda: rekey(path, key=None, new_key=key),
    ):
        with pytest.raises(ConfigError, match="pip install apsw-sqlite3mc"):
            attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", ["", b"", b"SECRET too short", b"SECRET" * 20, 77, "raw:SECRET", "x'SECRET'", "SECRET\ud800", True, ["S"]]
)
def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        EventLogSaver(tmp_path / "agent.db", key=wrong)
    said = "".join(traceback.format_exception(caught.value)).replace("wrong", "")
    assert "SECRET" not in str(caught.value)
    assert caught.value.__context__ is None, said
    assert list(tmp_path.iterdir()) == []


@needs_cipher
def test_an_encrypted_log_is_read_with_its_key_and_with_no_other(
    tmp_path: Path, opened: Opened, key: str | bytes, tools: Any
) -> None:
    saver = opened(key=key)
    tools.fill(saver)
    head = saver.log.head()
    saver.rebuild()
    saver.close()
    with EventLogSaver(saver.path, key=key) as again, EventLogSaver(saver.path, key=key, read_only=True) as reader:
        for each in (again, reader):
            assert each.log.head() == head
            assert list(each.log.verify(anchor=head)) == []
            found = each.get_tuple(tools.config("MARKthread", ns="MARKns"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"MARKchannel": "MARKvalue"}
    opened(key=key).close()  # the last who can write folds the WAL
    before = tools.bytes_beside(saver.path)
    for other in (None, key[:-1] + key[:1], "another", b"another key".ljust(32)):
        for read_only in (False, True):
            with pytest.raises(NotAnEventLogError, match="key") as caught:
                EventLog(saver.path, key=other, read_only=read_only)
            assert ("SQLite cannot tell which" in str(caught.value)) == (other is not None)
        assert tools.bytes_beside(saver.path) == before


@needs_cipher
def test_a_key_for_what_is_not_encrypted_is_refused_and_changes_nothing(
    tmp_path: Path, opened: Opened, key: str | bytes, tools: Any
) -> None:
    """A log; another program's database; text. What is said tells them apart, as long as they can be read."""
    log = opened()
    tools.fill(log)
    log.close()
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    with apsw.Connection(str(foreign)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    text.write_bytes(b"not a database\n" * 500)
    for path, error, words in (
        (Path(log.path), LogOpenError, "not encrypted.*rekey"),
        (foreign, NotAnEventLogError, "some other SQLite database"),
        (text, NotAnEventLogError, "SQLite cannot tell which"),
    ):
        before = tools.bytes_beside(path)
        with pytest.raises(error, match=words):
            EventLog(path, key=key)
        assert tools.bytes_beside(path) == before


@needs_cipher
def test_an_empty_file_becomes_an_encrypted_log(tmp_path: Path, opened: Opened, tools: Any) -> None:
    (tmp_path / "agent.db").touch()
    tools.fill(opened(key=tools.RAW_KEY))


@needs_cipher
@pytest.mark.parametrize("path", [":memory:", ""])
def test_a_private_log_with_a_key_is_never_in_a_file(path: str, tools: Any) -> None:
    with EventLogSaver(path, key=tools.RAW_KEY) as saver:
        tools.fill(saver)
        with saver.log.database.reading() as connection:
            files = [row[2] for row in connection.execute("PRAGMA database_list")]
            assert files == [""]
            assert connection.pragma("journal_mode") == "memory"
        assert list(saver.log.verify()) == []


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import apsw, conftest
from langgraph_eventlog.eventlog.connection import connect
from langgraph_eventlog.eventlog.encryption import Key
from langgraph_eventlog.saver import EventLogSaver
key = None if sys.argv[3] == "plain" else conftest.RAW_KEY
saver = EventLogSaver(sys.argv[2], key=key, indexed_metadata=["MARKkey"])
conftest.fill(saver)
if sys.argv[4] == "journal":  # a transaction under way: its pages in the file, the old ones in the journal
    saver.close()
    flags = apsw.SQLITE_OPEN_READWRITE
    connection = connect(
        sys.argv[2], flags=flags, busy_timeout_ms=0, synchronous="FULL", writer=True, key=Key.of(key)
    )
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    connection.pragma("journal_mode", "delete")
    connection.execute("BEGIN IMMEDIATE")
    for table in set(tables) - {"event", "erased", "stream", "thread", "meta", "projection"}:
        connection.execute(f"DELETE FROM {table}")
    connection.cache_flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def searched(files: dict[str, bytes], tools: Any) -> set[str]:
    """The marks that are found, in whichever file."""
    return {mark.decode() for mark in tools.marks() for data in files.values() if mark in data}


@pytest.mark.parametrize("mode", ["plain", pytest.param("encrypted", marks=needs_cipher)])
@pytest.mark.parametrize("left", ["wal", "journal"])
def test_no_byte_of_what_a_kill_leaves_is_plaintext(tmp_path: Path, tools: Any, mode: str, left: str) -> None:
    """Without a key all is found that is put: the search would find it."""
    path = tmp_path / "agent.db"
    done = tools.run_python(KILLED, Path(__file__).parent, path, mode, left, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    files = tools.bytes_beside(path)
    assert len(files[f"agent.db-{left}"]) > 1000
    found = searched(files, tools)
    if mode == "plain":
        # What is in a longer record is compressed.
        assert found >= {mark.decode() for mark in tools.marks()} - {"MARKvalue"}
        assert searched({left: files[f"agent.db-{left}"]}, tools) >= {"MARKid", "MARKname", "MARKmetadata"}
    else:
        assert found == set()
        assert not any(b"SQLite format" in data or b"CREATE TABLE" in data for data in files.values())
        with EventLogSaver(path, key=tools.RAW_KEY) as saver:
            assert list(saver.log.verify()) == []
            assert saver.get_tuple(tools.config("MARKthread", ns="MARKns")) is not None


@needs_cipher
def test_no_byte_is_plaintext_while_it_is_open_nor_after_a_rebuild_nor_when_it_is_closed(
    tmp_path: Path, opened: Opened, key: str | bytes, tools: Any
) -> None:
    saver = opened(key=key, indexed_metadata=["MARKkey"])
    tools.fill(saver)
    for step in (
        lambda: None,
        lambda: list(saver.list(None, filter={"MARKkey": "MARKmetadata"})),
        lambda: list(saver.log.verify()),
        saver.rebuild,
        lambda: saver.delete_thread("MARKthread"),
        saver.close,
    ):
        step()
        files = tools.bytes_beside(saver.path)
        assert ("agent.db-wal" in files) != saver.log.closed
        assert searched(files, tools) == set()


@needs_cipher
def test_no_connection_writes_temporary_files(opened: Opened, tools: Any) -> None:
    saver = opened(key=tools.RAW_KEY)
    database = saver.log.database
    for connecting in (database.reading, database.exclusive, database.scratch):
        with connecting() as connection:
            assert connection.pragma("temp_store") == 2  # MEMORY


LOUD = """
import logging, sys, traceback
sys.path.insert(0, sys.argv[1])
import apsw, apsw.ext, conftest, pickle, os
logging.basicConfig(stream=sys.stdout, level=0)
apsw.ext.log_sqlite(level=0)
def hook(connection):
    connection.trace_v2(apsw.SQLITE_TRACE_STMT | apsw.SQLITE_TRACE_PROFILE, lambda event: print(event))
    connection.set_exec_trace(lambda cursor, sql, bindings: print(sql, bindings) or True)
apsw.connection_hooks.append(hook)
from langgraph_eventlog.saver import EventLogSaver, rekey
key = conftest.RAW_KEY if sys.argv[3] == "raw" else conftest.PASSPHRASE
other = conftest.PASSPHRASE if sys.argv[3] == "raw" else conftest.RAW_KEY
path = sys.argv[2] + "/agent.db"
def attempt(call):
    try:
        call()
    except BaseException as e:
        traceback.print_exception(e)
        while e is not None:
            print(repr(e), str(e), vars(e), getattr(e, "__notes__", None))
            e = e.__context__ or e.__cause__
with EventLogSaver(path, key=key) as saver:
    conftest.fill(saver)
    saver.rebuild()
    database = saver.log.database
    print(repr(saver), repr(saver.log), repr(database), vars(saver.log), vars(database), vars(saver._core))
    with database.reading() as connection, database.exclusive() as writer:
        print(connection, writer, connection.filename, connection.db_names())
    attempt(lambda: pickle.dumps(database.key))
    attempt(lambda: rekey(path, key=key, new_key=other))
attempt(lambda: EventLogSaver(path, key=other))
attempt(lambda: rekey(path, key=other, new_key=key))
attempt(lambda: rekey(sys.argv[2] + "/none.db", key=key, new_key=other))
attempt(lambda: rekey(path, key=key, new_key=other))
os.mkdir(path + ".rekey")
attempt(lambda: rekey(path, key=other, new_key=key))
os.rmdir(path + ".rekey")
import langgraph_eventlog.eventlog.rekeying as rekeying
os.symlink("/nowhere/at/all", sys.argv[2] + "/broken")
plain_uri = rekeying.file_uri
rekeying.file_uri = lambda copy, **more: plain_uri(copy.replace(".rekey", "/nowhere"), **more)
attempt(lambda: rekey(path, key=other, new_key=key))
EventLogSaver(path, key=other)
print("finished")
"""


@needs_cipher
def test_the_key_is_in_no_repr_no_error_no_log_and_no_trace(tmp_path: Path, key: str | bytes, tools: Any) -> None:
    kind = "raw" if isinstance(key, bytes) else "passphrase"
    done = tools.run_python(LOUD, Path(__file__).parent, tmp_path, kind)
    said = done.stdout + done.stderr
    assert "finished" in said
    for words in ("is open in this process", "could not be given another key", "CantOpenError", "SELECT", "MARKthread"):
        assert words in said  # what was to be tried has been tried, and is heard
    for secret in (tools.RAW_KEY, tools.PASSPHRASE.encode()):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode()):
            assert form not in said.encode()
            assert form.upper() not in said.upper().encode()


def test_a_key_shows_nothing_of_itself() -> None:
    key = object.__new__(Key)
    key._hex = "736563726574"
    assert "73" not in repr(key) + str(key) + f"{key}"
    with pytest.raises(TypeError):
        pickle.dumps(key)


CREATOR = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest
from langgraph_eventlog.saver import EventLogSaver
print("ready", flush=True)
sys.stdin.readline()
with EventLogSaver(sys.argv[2], key=conftest.PASSPHRASE) as saver:
    saver.register_thread(sys.argv[3])
"""


@needs_cipher
def test_processes_that_make_one_encrypted_file_at_once_make_one_log(tmp_path: Path, tools: Any) -> None:
    """A passphrase gives another key with each salt, and the salt is made with the file: only one of them is kept."""
    for round_ in range(3):
        path = tmp_path / str(round_) / "agent.db"
        started = [
            subprocess.Popen(
                [sys.executable, "-c", CREATOR, str(Path(__file__).parent), str(path), f"t{i}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(5)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in started:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        with EventLogSaver(path, key=tools.PASSPHRASE) as saver:
            assert sorted(thread.thread_id for thread in saver.threads()) == [f"t{i}" for i in range(5)]
            assert list(saver.log.verify()) == []


@needs_cipher
def test_a_first_page_that_is_half_written_is_read_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tools: Any, key: str | bytes
) -> None:
    """Looking takes no lock: another may be writing that page, which is authenticated as a whole."""
    saver = opened(key=key)
    saver.close()
    path = Path(saver.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + bytes(1048) + whole[2048:])
    looks = []

    def pause() -> None:
        looks.append(1)
        if len(looks) == 3:
            path.write_bytes(whole)

    monkeypatch.setattr(looking, "pause", pause)
    opened(key=key, read_only=True).close()
    assert len(looks) == 3


@needs_cipher
def test_a_forked_process_has_the_key(opened: Opened, tools: Any) -> None:
    saver = opened(key=tools.RAW_KEY)
    child = multiprocessing.get_context("fork").Process(target=saver.register_thread, args=("child",))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    saver.register_thread("parent")
    assert sorted(thread.thread_id for thread in saver.threads()) == ["child", "parent"]


@needs_cipher
def test_a_flipped_bit_of_an_encrypted_file_is_an_error_of_the_log(tmp_path: Path, opened: Opened, tools: Any) -> None:
    saver = opened(key=tools.RAW_KEY)
    tools.fill(saver)
    saver.close()
    path = Path(saver.path)
    whole = path.read_bytes()
    silent = 0
    for at in range(0, len(whole), 997):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            with EventLogSaver(path, key=tools.RAW_KEY, read_only=True) as reader:
                silent += list(reader.log.verify()) == []
                reader.get_tuple(tools.config("MARKthread", ns="MARKns"))
        except EventLogError:
            pass
    path.write_bytes(whole)
    # Each page is authenticated: what goes unnoticed is what is never read, a page that is free for instance.
    assert silent <= 2

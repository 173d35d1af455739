"""fork(): parent and child go on with a saver that was open before it, sync and async, whatever was under way.

In processes of their own: the test runner's has threads, and plugins. Python 3.12 and later warns of every fork with
threads, whatever these do; that is what is tested here.
"""

from __future__ import annotations

import ast
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from .children import Child, threads_of

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")

FORK = """
import asyncio, os, random, signal, threading, time, traceback, warnings
import anyio
from langgraph_eventlog.eventlog import LogClosedError
from langgraph_eventlog.saver import EventLogSaver

warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)

def forked(work, *arguments):
    child = os.fork()
    if child == 0:
        signal.alarm(40)  # one that hangs is killed: no other signal would reach it
        code = 1
        try:
            work(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child

def wait(child):
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

def connections():
    # What this process has open of the log.
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            continue
        found += [name] if name.startswith(os.path.realpath(sys.argv[1])) else []
    return found

async def in_tasks(saver, name, count):
    async with anyio.create_task_group() as tasks:
        for n in range(count):
            tasks.start_soon(aput, saver, f"{name} {n}")

def use(saver, name):
    # In every way that there is; 12 events.
    for n in range(2):
        put(saver, f"{name} sync {n}")
    anyio.run(in_tasks, saver, f"{name} asyncio", 3, backend="asyncio")
    anyio.run(in_tasks, saver, f"{name} trio", 3, backend="trio")
    threads = [threading.Thread(target=put, args=(saver, f"{name} thread {n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saver.get_tuple(config(f"{name} sync 0")) is not None
    assert len(list(saver.list(None))) >= 12

saver = EventLogSaver(sys.argv[1], synchronous="NORMAL")
"""
USED = {"sync": 2, "asyncio": 3, "trio": 3, "thread": 4}


def run(code: str, path: Path, *arguments: object) -> str:
    """Run it; give what it said."""
    with Child(FORK + code, path, *arguments) as child:
        return child.hear()


def used(name: str) -> list[str]:
    return [f"{name} {way} {n}" for way, count in USED.items() for n in range(count)]


def test_workers_forked_from_a_process_that_has_used_the_saver_use_it_all_at_once(
    make_saver: Any, tmp_path: Path
) -> None:
    """As gunicorn does with --preload: the application is made, and may have been used, before its workers are."""
    path = tmp_path / "agent.db"
    run(
        """
use(saver, "before")
workers = [forked(use, saver, f"worker {n}") for n in range(3)]
use(saver, "parent")
for worker in workers:
    wait(worker)
use(saver, "after")
saver.close()
""",
        path,
    )
    names = ["before", "parent", "after", *(f"worker {n}" for n in range(3))]
    assert sorted(threads_of(make_saver(path))) == sorted(one for name in names for one in used(name))


def test_a_fork_in_the_midst_of_a_batch_waits_for_it(make_saver: Any, tmp_path: Path) -> None:
    """The clock is asked within the transaction: there the batch waits until the fork has begun."""
    path = tmp_path / "agent.db"
    run(
        """
saver.close()
in_batch, forking, over = threading.Event(), threading.Event(), threading.Event()

def clock():
    in_batch.set()
    forking.wait(30)
    over.wait(0.2)  # a fork that does not wait for the batch is over before it
    return time.time_ns() // 1000

saver = EventLogSaver(sys.argv[1], clock=clock)
threads = [threading.Thread(target=put, args=(saver, f"batch {n}")) for n in range(5)]
with saver.log.database.write_lock:
    for thread in threads:
        thread.start()
    while len(saver.log._group._queue) < len(threads):
        time.sleep(0.001)
in_batch.wait(30)
os.register_at_fork(before=forking.set)

def child():
    assert connections() == [], connections()
    assert len(list(saver.list(None))) == 5
    put(saver, "child")

pid = forked(child)
over.set()
wait(pid)
for thread in threads:
    thread.join()
put(saver, "parent")
saver.close()
""",
        path,
    )
    threads = threads_of(make_saver(path))
    assert sorted(threads[:5]) == [f"batch {n}" for n in range(5)]
    assert threads[5:] == ["child", "parent"]


@pytest.mark.parametrize("seed", range(2))
def test_forks_at_any_moment_lose_and_double_nothing(make_saver: Any, tmp_path: Path, seed: int) -> None:
    """Twelve of them, while threads append, read, open and verify, and tasks of an event loop append."""
    path = tmp_path / "agent.db"
    said = run(
        """
# What is imported on the way is, before: a module that another thread is importing at a fork is locked for ever.
use(saver, "before")
chance = random.Random(sys.argv[2])
stop = threading.Event()
told, failed = {}, []

def guarded(work):
    def run():
        try:
            work()
        except BaseException:
            failed.append(traceback.format_exc())
    return threading.Thread(target=run, daemon=True)  # not to be waited for if anything fails

def append(name):
    n = 0
    while not stop.is_set():
        put(saver, f"{name} {n}")
        told[name] = n = n + 1
        saver.get_tuple(config(f"{name} 0"))

async def append_in_tasks():
    async def one(name):
        n = 0
        while not stop.is_set():
            await aput(saver, f"{name} {n}")
            told[name] = n = n + 1
    async with anyio.create_task_group() as tasks:
        for n in range(3):
            tasks.start_soon(one, f"task{n}")

def open_and_verify():
    while not stop.is_set():
        with EventLogSaver(sys.argv[1]) as another:
            next(another.list(None), None)
            next(another.log.verify(), None)

threads = [guarded(lambda n=n: append(f"thread{n}")) for n in range(2)]
threads += [guarded(lambda: anyio.run(append_in_tasks)), guarded(open_and_verify)]
for thread in threads:
    thread.start()

def child(n):
    assert connections() == [], connections()
    put(saver, f"child{n} 0")
    anyio.run(aput, saver, f"child{n} 1")
    with EventLogSaver(sys.argv[1] + f".{n}"):  # nor does making another wait for anybody
        pass

for n in range(12):
    time.sleep(chance.uniform(0, 0.02))
    wait(forked(child, n))
stop.set()
for thread in threads:
    thread.join()
assert failed == [], failed[0]
say(repr(told | {f"child{n}": 2 for n in range(12)}))
saver.close()
""",
        path,
        seed,
    )
    expected = [f"{name} {n}" for name, count in ast.literal_eval(said).items() for n in range(count)]
    found = threads_of(make_saver(path))
    assert sorted(found[:12]) == sorted(used("before"))
    found = found[12:]
    assert sorted(found) == sorted(expected)
    in_order: dict[str, list[int]] = {}
    for name, n in (one.rsplit(" ", 1) for one in found):
        in_order.setdefault(name, []).append(int(n))
    assert all(numbers == sorted(numbers) for numbers in in_order.values())


def test_an_event_loop_goes_on_in_the_child_that_inherits_it(make_saver: Any, tmp_path: Path) -> None:
    """Its worker threads are not there any more; nobody may wait for them."""
    path = tmp_path / "agent.db"
    run(
        """
loop = asyncio.new_event_loop()
loop.run_until_complete(in_tasks(saver, "before", 3))
assert loop.run_until_complete(saver.aget_tuple(config("before 0"))) is not None

def child():
    assert loop.run_until_complete(saver.aget_tuple(config("before 0"))) is not None
    loop.run_until_complete(in_tasks(saver, "child", 3))
    assert loop.run_until_complete(saver.aget_tuple(config("child 0"))) is not None

wait(forked(child))
loop.run_until_complete(in_tasks(saver, "after", 3))
loop.close()
saver.close()
""",
        path,
    )
    assert sorted(threads_of(make_saver(path))) == [f"{w} {n}" for w in ("after", "before", "child") for n in range(3)]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="what is open is looked up in /proc")
@pytest.mark.parametrize("what", ["reading", "scratch"])
def test_a_fork_waits_for_those_who_are_reading_or_verifying(make_saver: Any, tmp_path: Path, what: str) -> None:
    path = tmp_path / "agent.db"
    run(
        """
put(saver, "before")
reading = threading.Event()
forking = threading.Event()

def read():
    with getattr(saver.log.database, sys.argv[2])() as connection:
        connection.execute("SELECT 1 FROM meta").fetchall()
        reading.set()
        forking.wait(30)
        time.sleep(0.1)  # a fork that does not wait is over before it

thread = threading.Thread(target=read)
thread.start()
reading.wait(30)
os.register_at_fork(before=forking.set)

def child():
    assert connections() == [], connections()
    put(saver, "child")

wait(forked(child))
thread.join()
put(saver, "parent")
saver.close()
""",
        path,
        what,
    )
    assert threads_of(make_saver(path)) == ["before", "child", "parent"]


def test_a_child_that_inherits_a_connection_in_use_is_told_so_and_does_no_harm(make_saver: Any, tmp_path: Path) -> None:
    """It would take itself for the holder of locks that only its parent has, also through a saver of its own."""
    path = tmp_path / "agent.db"
    run(
        """
from langgraph_eventlog.eventlog import database
database._FORK_WAIT_S = 0.05
put(saver, "before")

def refused(use):
    try:
        use()
    except LogClosedError as e:
        assert sys.argv[1] in str(e) and "being read" in str(e) and "Fork when" in str(e), e
    else:
        raise AssertionError

def child():
    refused(lambda: put(saver, "child"))
    refused(lambda: saver.get_tuple(config("before")))
    refused(lambda: EventLogSaver(sys.argv[1]))
    with EventLogSaver(sys.argv[1] + ".another") as another:
        put(another, "child")
    saver.close()

with saver.log.database.reading() as connection:
    connection.execute("SELECT 1 FROM meta").fetchall()
    wait(forked(child))
put(saver, "parent")
saver.close()
""",
        path,
    )
    assert threads_of(make_saver(path)) == ["before", "parent"]
    assert threads_of(make_saver(f"{path}.another")) == ["child"]


def test_a_fork_waits_for_a_batch_that_opens_another_log(tmp_path: Path) -> None:
    """A projection does so, while it holds the write lock that the fork is waiting for."""
    run(
        """
from langgraph_eventlog.projections import Projection

told, forking = threading.Event(), threading.Event()

class Copying(Projection):
    name = "copying"
    schema_version = 1

    def reset(self):
        self.db.execute("CREATE TABLE copying (x)")

    def apply(self, event):
        told.set()
        forking.wait(30)
        with EventLogSaver(sys.argv[1] + ".copy"):
            pass

saver.close()
saver = EventLogSaver(sys.argv[1], projections=[Copying()])
write_lock = saver.log.database.write_lock
acquire = write_lock.acquire

def acquired(*arguments, **options):
    forking.set()
    return acquire(*arguments, **options)

thread = threading.Thread(target=put, args=(saver, "one"))
thread.start()
told.wait(30)
write_lock.acquire = acquired
wait(forked(lambda: None))
write_lock.acquire = acquire
thread.join()
assert saver.get_tuple(config("one")) is not None
saver.close()
""",
        tmp_path / "agent.db",
    )


def test_a_fork_waits_for_batches_that_append_to_other_logs(tmp_path: Path) -> None:
    """Whichever of the logs it locks first: who has the lock of one may be waiting for another's."""
    run(
        """
from langgraph_eventlog.eventlog import forking
from langgraph_eventlog.projections import Projection

class Copying(Projection):
    name = "copying"
    schema_version = 1

    def __init__(self, copy):
        self.copy, self.told, self.forking = copy, threading.Event(), threading.Event()

    def reset(self):
        self.db.execute("CREATE TABLE copying (x)")

    def apply(self, event):
        self.told.set()
        self.forking.wait(30)
        put(self.copy, "copy")

saver.close()
copies = [EventLogSaver(f"{sys.argv[1]}.copy {n}") for n in range(4)]
projections = [Copying(copy) for copy in copies]
savers = [EventLogSaver(f"{sys.argv[1]}.{n}", projections=[one]) for n, one in enumerate(projections)]
threads = [threading.Thread(target=put, args=(one, "one")) for one in savers]
for thread, projection in zip(threads, projections):
    thread.start()
    projection.told.wait(30)

# The copies are locked first, and then the batches told to go on.
forking.FORKING._databases = [one.log.database for one in copies + savers]
for one, projection in zip(savers, projections):
    def acquired(*arguments, projection=projection, acquire=one.log.database.write_lock.acquire, **options):
        projection.forking.set()
        return acquire(*arguments, **options)
    one.log.database.write_lock.acquire = acquired

wait(forked(lambda: None))
for thread in threads:
    thread.join()
for copy in copies:
    assert copy.get_tuple(config("copy")) is not None
for one in savers + copies:
    one.close()
""",
        tmp_path / "agent.db",
    )

"""Losing power: what was not synced is lost, or half of it is, and a log has to be found in what is left.

A disk, as POSIX describes one, keeps of each file what was synced; of what was written since, any sectors may have got
there, in any order, each as it was at any moment since; a file grows before its sectors are written. A folder keeps the
entries that were synced with it; of what was created or deleted since, some may be as it was. What is assumed, as
SQLite does on Linux: writing some bytes of a sector does not harm the others in it ("powersafe overwrite"), and a sync
that succeeded has been done. Shared memory (-shm) holds anything afterwards, or is not there.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import apsw

from .interposer import Interposer, Operation

__all__ = ["Image", "PowerVfs", "lay_out"]

Image = dict[str, bytes]  # a file's name, and what is in it
_SHM_BYTES = 32768


class _Inode:
    """What a file is sure to hold, and what has been written since: (offset, data), or the size it was cut to."""

    __slots__ = ("_sure", "pending")

    def __init__(self, sure: bytes = b"") -> None:
        self._sure = bytearray(sure)
        self.pending: list[tuple[int, bytes] | int] = []

    def synced(self) -> None:
        self._sure = _with_all(self._sure, self.pending)
        self.pending = []

    def left(self, chance: random.Random) -> bytes:
        """Give what is found of it."""
        how = chance.choices(("nothing", "all", "torn"), (3, 1, 6))[0]
        if how == "torn":
            return self._torn(chance)
        return bytes(self._sure if how == "nothing" else _with_all(self._sure, self.pending))

    def _torn(self, chance: random.Random) -> bytes:
        sector, survives = chance.choice((512, 4096)), chance.choice((0.1, 0.5, 0.9))
        sizes = [len(self._sure)]
        for operation in self.pending:
            sizes.append(operation if isinstance(operation, int) else max(sizes[-1], operation[0] + len(operation[1])))
        size = chance.choice((sizes[-1], chance.choice(sizes)))
        found = bytearray(self._sure[:size].ljust(size, b"\0"))
        grown = range(len(self._sure) // sector, -(-size // sector))
        if grown and chance.random() < 0.3:  # grown, but never written: what the disk held there before
            begin = min(len(self._sure), size)
            found[begin:] = chance.randbytes(size - begin)
        until: dict[int, int] = {}  # for each sector, how many of the operations got there
        last = len(self.pending)
        for number, operation in enumerate(self.pending):
            first, end, data = (operation, size, b"") if isinstance(operation, int) else _range(*operation)
            for place in range(first // sector, -(-end // sector)):
                if place not in until:
                    until[place] = last if chance.random() < survives else chance.choice((0, chance.randint(0, last)))
                if number >= until[place]:
                    continue
                begin, stop = max(first, place * sector), min(end, place * sector + sector, size)
                if begin < stop:
                    found[begin:stop] = data[begin - first : stop - first] if data else bytes(stop - begin)
        return bytes(found)


def _range(offset: int, data: bytes) -> tuple[int, int, bytes]:
    return offset, offset + len(data), data


def _with_all(sure: bytearray, pending: list[tuple[int, bytes] | int]) -> bytearray:
    whole = bytearray(sure)
    for operation in pending:
        if isinstance(operation, int):
            del whole[operation:]
            whole.extend(bytes(operation - len(whole)))
        else:
            offset, data = operation
            if len(whole) < offset:
                whole.extend(bytes(offset - len(whole)))
            whole[offset : offset + len(data)] = data
    return whole


class PowerVfs(Interposer):
    """Has power until the operation of number `cut_at`; from then on every one fails, and `image` is what is left.

    Args:
        folder: of the log; what it holds now has been synced.
        cut_at: counted from 1; 0: never.
        chance: decides what of all that was not synced is found.
        more_kinds: of operations that a subclass answers, too.
    """

    def __init__(self, folder: Path, cut_at: int, chance: random.Random, *, more_kinds: Iterable[str] = ()) -> None:
        super().__init__(folder, ("open", "delete", "write", "truncate", "sync", "sync_folder", *more_kinds))
        self._folder = os.path.realpath(folder)
        self._chance = chance
        self._left = cut_at
        self.image: Image | None = None
        self.operations = 0
        self._names = {name: _Inode(Path(folder, name).read_bytes()) for name in sorted(os.listdir(folder))}
        self._sure_names = dict(self._names)
        # What was created (its inode) or deleted (None) since, in order.
        self._entries: list[tuple[str, _Inode | None]] = []

    @property
    def is_cut(self) -> bool:
        return self.image is not None

    def answer(self, operation: Operation) -> int:
        if self.is_cut:
            return apsw.SQLITE_IOERR
        self.operations += 1
        self._left -= 1
        name = os.path.basename(operation.path)
        if self._left == 0:
            self._note_unsynced(operation, name)
            self.cut()
            return apsw.SQLITE_IOERR
        code = operation.do()
        if code == apsw.SQLITE_OK:
            self._note(operation, name)
        return code

    def _enter(self, name: str, inode: _Inode | None) -> None:
        self._entries.append((name, inode))
        if inode is None:
            self._names.pop(name, None)
        else:
            self._names[name] = inode

    def _note(self, operation: Operation, name: str) -> None:
        if operation.kind == "sync_folder":
            if os.path.realpath(operation.path) == self._folder:
                self._sure_names, self._entries = dict(self._names), []
        elif operation.kind == "sync":
            self._names[name].synced()
        else:
            self._note_unsynced(operation, name)

    def _note_unsynced(self, operation: Operation, name: str) -> None:
        if operation.kind == "open":
            if name not in self._names:
                self._enter(name, _Inode())
        elif operation.kind == "delete":
            if name in self._names:
                self._enter(name, None)
        elif operation.kind == "write":
            self.note_write(operation, operation.size)
        elif operation.kind == "truncate":
            self._names[name].pending.append(operation.offset)

    def note_write(self, operation: Operation, size: int) -> None:
        """Note that the first bytes of a write have been written, and not synced."""
        inode = self._names[os.path.basename(operation.path)]
        inode.pending.append((operation.offset, operation.data()[:size]))

    def cut(self) -> None:
        """Cut the power now, if that was not done."""
        if not self.is_cut:
            self.image = self.left()

    def left(self) -> Image:
        """Give what would be found if the power were cut now."""
        chance, names = self._chance, dict(self._sure_names)
        how = chance.choice(("nothing", "all", "some, in order", "any"))
        count = {"nothing": 0, "some, in order": chance.randint(0, len(self._entries))}.get(how, len(self._entries))
        for name, inode in self._entries[:count]:
            if how == "any" and chance.random() < 0.5:
                continue
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        image = {name: inode.left(chance) for name, inode in sorted(names.items())}
        self._shared_memory(image)
        return image

    def _shared_memory(self, image: Image) -> None:
        for name in [name for name in image if name.endswith("-shm")]:
            del image[name]
        for name in [name for name in image if "-" not in name]:
            there = Path(self._folder, name + "-shm")
            how = self._chance.choice(("absent", "as it was", "anything"))
            if how == "as it was" and there.exists():
                image[name + "-shm"] = there.read_bytes()
            elif how == "anything":
                image[name + "-shm"] = self._chance.randbytes(_SHM_BYTES)


def lay_out(image: Image, folder: Path) -> None:
    """Make a folder that holds these files, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in image.items():
        (folder / name).write_bytes(data)

"""Standing between SQLite and the operating system: every file operation below one folder can be seen, and answered.

The method tables of SQLite's own VFS are patched through ctypes; their layout is part of SQLite's stable interface. It
is not done with apsw.VFS because an answer has to be a bare result code, as the kernel's is: what a method of an
apsw.VFSFile raises comes out of the statement at hand even where SQLite itself takes the failure in, as it does that
of an automatic checkpoint after COMMIT. A caller would be told of failures that no real disk could tell it of, and no
test would show what SQLite does by itself. Shared memory, too, can be failed only here.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

__all__ = ["KINDS", "Interposer", "Operation"]

_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_SetSystemCall = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GetSystemCall = CFUNCTYPE(c_void_p, c_void_p, c_char_p)
_OpenFolder = CFUNCTYPE(c_int, c_char_p, POINTER(c_int))
_Close = CFUNCTYPE(c_int, c_void_p)
_Transfer = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_WithInt = CFUNCTYPE(c_int, c_void_p, c_int)
_ShmMap = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)
_ShmLock = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int)


class _Vfs(Structure):
    _fields_ = [
        *((name, c_int) for name in ("iVersion", "szOsFile", "mxPathname")),
        *((name, c_void_p) for name in ("pNext", "zName", "pAppData", "xOpen", "xDelete", "xAccess", "xFullPathname")),
        *((name, c_void_p) for name in ("xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness", "xSleep")),
        *((name, c_void_p) for name in ("xCurrentTime", "xGetLastError", "xCurrentTimeInt64")),
        *((name, c_void_p) for name in ("xSetSystemCall", "xGetSystemCall", "xNextSystemCall")),
    ]


_METHODS = (
    *("xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize", "xLock", "xUnlock", "xCheckReservedLock"),
    *("xFileControl", "xSectorSize", "xDeviceCharacteristics"),
    *("xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap", "xFetch", "xUnfetch"),
)
_OF_VERSION = {1: 12, 2: 16, 3: 18}  # so many methods


class _Methods(Structure):
    _fields_ = [("iVersion", c_int), *((name, c_void_p) for name in _METHODS)]


class _File(Structure):
    _fields_ = [("pMethods", c_void_p)]


_PROTOTYPES = {
    "read": ("xRead", _Transfer),
    "write": ("xWrite", _Transfer),
    "truncate": ("xTruncate", _Truncate),
    "sync": ("xSync", _WithInt),
    "lock": ("xLock", _WithInt),
    "shm_map": ("xShmMap", _ShmMap),
    "shm_lock": ("xShmLock", _ShmLock),
}
# What can be asked for. "sync_folder" is what comes after a sync of a new file, or a delete, that asks for it.
KINDS = frozenset({*_PROTOTYPES, "open", "delete", "sync_folder"})


class Operation:
    """One operation on a file (or on a folder's entries), before it is done.

    Attributes:
        kind: one of KINDS.
        path: of the file; the folder, for "sync_folder".
        offset: where it is read or written; the new size, for "truncate"; the flags, for "open" and "shm_lock".
        size: how many bytes are read or written.
    """

    __slots__ = ("_buffer", "_go", "kind", "offset", "path", "size")

    def __init__(
        self, kind: str, path: str, go: Callable[[int], int], *, offset: int = 0, size: int = 0, buffer: int = 0
    ) -> None:
        self.kind, self.path, self.offset, self.size = kind, path, offset, size
        self._go, self._buffer = go, buffer

    def data(self) -> bytes:
        """Give what is to be written."""
        return ctypes.string_at(self._buffer, self.size)

    def do(self, size: int | None = None) -> int:
        """Do it, and give SQLite's result code; of a write only the first `size` bytes, if that is given."""
        return self._go(self.size if size is None else size)


class Interposer:
    """While the block lasts, what SQLite does to files in `folder` goes through `answer`.

    Args:
        folder: whose files; others are not touched.
        kinds: of operations; the others go straight through.

    At most one at a time in a process. Connections may outlive the block; they then go straight through.
    """

    _there: Interposer | None = None

    def __init__(self, folder: str | Path, kinds: Iterable[str]) -> None:
        self._prefix = os.path.realpath(folder) + os.sep
        self._kinds = frozenset(kinds)
        assert self._kinds <= KINDS
        self._errors: list[BaseException] = []

    def answer(self, operation: Operation) -> int:
        """Do the operation or not, and give the result code that SQLite sees."""
        return operation.do()

    def concerns(self, path: str) -> bool:
        """Tell whether this path is in the folder."""
        return path.startswith(self._prefix)

    def asked(self, operation: Operation) -> int:
        """Ask `answer`; what it raises by mistake is raised at the end of the block, not lost."""
        try:
            return self.answer(operation)
        except BaseException as e:
            self._errors.append(e)
            return apsw.SQLITE_IOERR

    def wants(self, kind: str) -> bool:
        """Tell whether operations of this kind are to be answered."""
        return kind in self._kinds

    def __enter__(self) -> Self:
        assert Interposer._there is None
        _patch()
        Interposer._there = self
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        Interposer._there = None
        if self._errors and e is None:
            raise self._errors[0]


# What is patched stays so for as long as the process lives, since connections hold on to it; without an interposer,
# each operation goes straight through. So nothing here is ever taken back, and the callbacks are never collected.
_kept: list[Any] = []
_tables: dict[int, _Methods] = {}  # by the address of the original
_paths: dict[int, str] = {}  # by the address of SQLite's file object


def _wanted(kind: str, path: str | None) -> Interposer | None:
    there = Interposer._there
    return there if there is not None and path is not None and there.wants(kind) and there.concerns(path) else None


def _patch() -> None:
    if _kept:
        return
    pointer = c_void_p()
    connection = apsw.Connection("")
    assert connection.file_control("main", apsw.SQLITE_FCNTL_VFS_POINTER, ctypes.addressof(pointer))
    connection.close()
    address = pointer.value
    assert address is not None
    vfs = _Vfs.from_address(address)
    while ctypes.string_at(vfs.zName) != b"unix":  # an encrypting build puts its own before it
        address = vfs.pNext
        assert address is not None
        vfs = _Vfs.from_address(address)
    _kept.append(vfs)
    _patch_open(vfs)
    _patch_delete(vfs)
    _patch_open_folder(vfs, address)


def _patch_open(vfs: _Vfs) -> None:
    original = _Open(vfs.xOpen)

    def opened(this: int, name: int | None, file: int, flags: int, out: Any) -> int:
        path = None if name is None else ctypes.string_at(name).decode()
        there = Interposer._there
        if there is None or path is None or not there.concerns(path):
            return original(this, name, file, flags, out)
        if there.wants("open"):
            code = there.asked(Operation("open", path, lambda _: original(this, name, file, flags, out), offset=flags))
        else:
            code = original(this, name, file, flags, out)
        found = _File.from_address(file)
        if code == apsw.SQLITE_OK and found.pMethods is not None:
            _paths[file] = path
            found.pMethods = ctypes.addressof(_table_for(found.pMethods))
        elif code != apsw.SQLITE_OK:
            found.pMethods = None  # SQLite closes what has methods
        return code

    callback = _Open(opened)
    _kept.extend((original, callback))
    vfs.xOpen = ctypes.cast(callback, c_void_p).value


def _patch_delete(vfs: _Vfs) -> None:
    original = _Delete(vfs.xDelete)

    def deleted(this: int, name: int, sync_folder: int) -> int:
        path = ctypes.string_at(name).decode()
        there = _wanted("delete", path)
        if there is None:
            return original(this, name, sync_folder)
        return there.asked(Operation("delete", path, lambda _: original(this, name, sync_folder)))

    callback = _Delete(deleted)
    _kept.extend((original, callback))
    vfs.xDelete = ctypes.cast(callback, c_void_p).value


def _patch_open_folder(vfs: _Vfs, address: int) -> None:
    """SQLite opens a folder for one purpose only: to sync its entries."""
    found = _GetSystemCall(vfs.xGetSystemCall)(address, b"openDirectory")
    assert found is not None
    original = _OpenFolder(found)

    def opened(name: bytes, out: Any) -> int:
        path = os.path.dirname(name.decode())
        there = _wanted("sync_folder", path + os.sep)
        if there is None:
            return original(name, out)
        return there.asked(Operation("sync_folder", path, lambda _: original(name, out)))

    callback = _OpenFolder(opened)
    _kept.extend((original, callback))
    _SetSystemCall(vfs.xSetSystemCall)(address, b"openDirectory", ctypes.cast(callback, c_void_p))


def _table_for(address: int) -> _Methods:
    """Give the methods at `address` with ours in the place of some."""
    if address in _tables:
        return _tables[address]
    original = _Methods.from_address(address)
    table = _Methods(iVersion=original.iVersion)
    for name in _METHODS[: _OF_VERSION[original.iVersion]]:
        setattr(table, name, getattr(original, name))
    closing = _Close(original.xClose)

    def close(file: int) -> int:
        _paths.pop(file, None)
        return closing(file)

    callbacks = {"xClose": _Close(close)}
    for kind, (name, prototype) in _PROTOTYPES.items():
        function = getattr(original, name, None)
        if function:
            callbacks[name] = prototype(_method(kind, prototype(function)))
    for name, callback in callbacks.items():
        setattr(table, name, ctypes.cast(callback, c_void_p).value)
    _kept.append((closing, callbacks))
    _tables[address] = table
    return table


def _method(kind: str, original: Any) -> Callable[..., int]:
    def transfer(file: int, buffer: int, size: int, offset: int) -> int:
        there = _wanted(kind, _paths.get(file))
        if there is None:
            return original(file, buffer, size, offset)
        go = lambda size: original(file, buffer, size, offset)  # noqa: E731
        return there.asked(Operation(kind, _paths[file], go, offset=offset, size=size, buffer=buffer))

    def other(file: int, *arguments: int) -> int:
        there = _wanted(kind, _paths.get(file))
        if there is None:
            return original(file, *arguments)
        offset = {"truncate": arguments[0], "shm_lock": arguments[-1]}.get(kind, 0)
        return there.asked(Operation(kind, _paths[file], lambda _: original(file, *arguments), offset=offset))

    return transfer if kind in ("read", "write") else other

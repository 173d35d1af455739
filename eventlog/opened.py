"""Records that are read for parts of them: checked and unpacked once, decoded where they are looked at.

Most records are read for one value, on the way to another record's.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import partial
from typing import Any

from . import body as body_codec
from . import record as record_codec
from .body import FIRST_OF_PUT, BodyFormatError
from .errors import CorruptRecordError
from .event import EventData, Field, Kind, PutWrites
from .integrity import digest_of
from .record import RecordFormatError
from .value import Stored

__all__ = ["OpenedRecord", "RecordRow", "is_record_row"]

# What a record takes in memory beside its bytes, and each part of one that has many, about.
_MEMORY_OF_RECORD = 2_000
_MEMORY_OF_PART = 60
# Smaller bodies have few parts, and counting those would take long beside unpacking them.
_MIN_BYTES_COUNTED = 1_024
# Of the kinds that hold a checkpoint, or writes at one, how many elements stand before those of the put, or put_writes.
_FIRST = {**FIRST_OF_PUT, int(Kind.PUT_WRITES): 0, int(Kind.RESTATE_WRITES): 2}
_NESTING = frozenset((list, dict))
_NO_CHANNELS: frozenset[Any] = frozenset()
# Kind, stream, record and digest.
RecordRow = tuple[int, int | None, bytes, bytes]


class OpenedRecord:
    """A record that is what was appended, unpacked; nothing else of it has been checked yet.

    Args:
        path: of the log, for error messages.
        position: where it stands.
        row: kind, stream, record and digest.
        base: those of the event that its record is a patch to, if it is one; None: that is not there.

    Attributes:
        stream: the file's key of the thread and namespace that it is about; None: the whole log.
        size: its bytes.
        body_bytes: of its body, and of that which it is a patch to.
        memory: about how many bytes it takes here.
        is_put: whether it holds a checkpoint, put or restated.
        channels: the names of the channels whose values it holds; of a put only.
        derived: what a reader has made of the record, and wants to find again; nothing that can be changed.
        checkpoint_id: of the checkpoint that it holds, or has writes at; None if it does neither.

    Raises:
        CorruptRecordError: it is not what was appended, or not a record of this version.
    """

    __slots__ = (
        "_array",
        "_bases",
        "_data",
        "_kind",
        "_path",
        "_position",
        "body_bytes",
        "channels",
        "checkpoint_id",
        "derived",
        "is_put",
        "memory",
        "size",
        "stream",
    )

    def __init__(self, path: str, position: int, row: RecordRow, base: RecordRow | None = None) -> None:
        self._path, self._position = path, position
        self._kind, self.stream, record, digest = row
        self._data: PutWrites | None = None
        if not is_record_row(row):
            raise CorruptRecordError("a column holds what it cannot hold", path=path, position=position)
        self.size = len(record)
        if digest_of(record) != digest:
            raise CorruptRecordError(
                "its record does not match its digest", path=path, position=position, code="digest"
            )
        try:
            self._bases, body = record_codec.decode(record, partial(_body_of_base, position, self._kind, base))
            if self._bases and self._bases[-1] >= position:
                raise RecordFormatError("it refers to what comes after it")
            self._array = body_codec.unpack_body(self._kind, body, self._bases)
        except (RecordFormatError, BodyFormatError) as e:
            raise CorruptRecordError(str(e), path=path, position=position) from e
        self.is_put = self._kind in FIRST_OF_PUT
        self.channels: Set[Any] = _NO_CHANNELS
        self.derived: Any = None
        self.checkpoint_id: str | None = None
        first = _FIRST.get(self._kind)
        if first is not None:
            found = self._array[first]
            self.checkpoint_id = found if type(found) is str else None
            if self.is_put and type(self._array[first + 3]) is dict:
                self.channels = self._array[first + 3].keys()
        self.body_bytes = len(body) * (1 if base is None else 2)
        parts = _parts_in(self._array) if len(body) >= _MIN_BYTES_COUNTED else 0
        self.memory = 2 * len(body) + max(_MEMORY_OF_RECORD, _MEMORY_OF_PART * parts)

    @property
    def kind(self) -> Kind:
        """What the event is."""
        return Kind(self._kind)

    @property
    def array(self) -> list[Any]:
        """The array that its body is; nobody may change it."""
        return self._array

    @property
    def bases(self) -> tuple[int, ...]:
        """The positions that its values refer to."""
        return self._bases

    def data(self) -> EventData:
        """Decode all of it. What of it can be changed is the caller's to copy.

        Raises:
            CorruptRecordError: anything in it is damaged.
        """
        if self._data is not None:
            return self._data
        try:
            data = body_codec.decode_array(self._kind, self._array, self._bases)
        except BodyFormatError as e:
            raise CorruptRecordError(str(e), path=self._path, position=self._position) from e
        if isinstance(data, PutWrites):
            # Read again at every walk over a delta channel's ancestors; and nothing in it can be changed.
            self._data = data
        return data

    @property
    def more(self) -> list[Any]:
        """What it holds that this version does not know: whoever encodes it again keeps that."""
        return body_codec.beyond(self._kind, self._array)

    def stored(self, field: Field) -> Stored | None:
        """Decode one value; None if there is none of that name.

        Raises:
            CorruptRecordError: what stands there is damaged.
        """
        try:
            return body_codec.decode_field(self._kind, self._array, self._bases, field)
        except BodyFormatError as e:
            raise CorruptRecordError(str(e), path=self._path, position=self._position) from e

    def frame(self) -> Mapping[str, Any]:
        """Give those fields of a checkpoint that the log itself can read, its `ts` among them; {} of other events.

        Raises:
            CorruptRecordError: what stands there is damaged.
        """
        try:
            return body_codec.decode_frame(self._kind, self._array)
        except BodyFormatError as e:
            raise CorruptRecordError(str(e), path=self._path, position=self._position) from e


def is_record_row(row: RecordRow) -> bool:
    """Tell whether the columns hold what they can: a flipped bit in a row's header changes what SQLite reads."""
    kind, stream, record, digest = row
    return isinstance(kind, int) and (stream is None or type(stream) is int) and type(record) is type(digest) is bytes


def _parts_in(array: list[Any]) -> int:
    """Count what is in an array, however deep: what nobody has looked at may be nested."""
    count = 0
    level: list[Any] = [array]
    while level:
        inside: list[Any] = []
        for parts in level:
            inside += parts.values() if type(parts) is dict else parts
        count += len(inside)
        level = [part for part in inside if type(part) in _NESTING]
    return count


def _body_of_base(position: int, kind: int, row: RecordRow | None, base: int) -> bytes:
    """Give what a put_writes is a patch to: the body of an earlier one, which is none itself."""
    if (
        kind != Kind.PUT_WRITES
        or base >= position
        or row is None
        or row[0] != Kind.PUT_WRITES
        or not is_record_row(row)
    ):
        raise RecordFormatError("it is a patch to what is not there, or where none may be")
    _, _, record, digest = row
    if digest_of(record) != digest:
        raise RecordFormatError(f"event {base}, to which it is a patch, is damaged")
    return record_codec.decode(record)[1]

"""A thread's history as one page that needs nothing else: no network, no other file, no server.

The page holds what there is to show as JSON, and a script that makes text of it, by `textContent` alone: nothing in it
is ever read as markup, and its Content-Security-Policy lets nothing run or load but the script and the style it was
written with.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from ...eventlog.errors import ConfigError, EventErasedError, EventLogError
from ...eventlog.event import Copy
from ...saver import EventLogSaver
from .entry import AuditEntry
from .page_states import PageStates
from .replay import replay_from
from .timeline import Lanes

__all__ = ["MAX_PAGE_BYTES", "thread_page", "write_page"]

# What the JSON of a page may take: half of it the events, half the states.
MAX_PAGE_BYTES = 8 * 1024 * 1024
_MOST_IN_A_CHANGE = 50
_CHECKPOINTS = frozenset({"put", "restate"})
_UNREADABLE = frozenset({"damaged", "erased"})


def write_page(
    saver: EventLogSaver,
    thread_id: str,
    path: str | os.PathLike[str],
    *,
    max_bytes: int = MAX_PAGE_BYTES,
    done: Callable[[float], None] = lambda _: None,
) -> list[str]:
    """Write the page of a thread's history, for its owner only, in the place of what is there; all of it or nothing.

    Give what was left out because it is too much, in words; [] if nothing was.

    Args:
        saver: the log.
        thread_id: the thread's id.
        path: of the page.
        max_bytes: what it may hold, about.
        done: is told the position of each event that has been gone through.

    Raises:
        ConfigError: `path` is the log, or one of its files.
        OSError: it cannot be written.
    """
    target = Path(path)
    if any(_is_same_file(target, saver.path + suffix) for suffix in ("", "-wal", "-shm", "-journal")):
        raise ConfigError(f"{target} is the log itself: write the page to another file")
    page, left_out = thread_page(saver, thread_id, max_bytes=max_bytes, done=done)
    try:
        _replace(target, page)
    except OSError as e:  # which names the file that was to become the page
        raise OSError(e.errno, e.strerror, str(target)) from e
    return left_out


def _replace(target: Path, page: str) -> None:
    handle, made = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
        os.replace(made, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)
        raise


def _is_same_file(path: Path, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def thread_page(
    saver: EventLogSaver,
    thread_id: str,
    *,
    max_bytes: int = MAX_PAGE_BYTES,
    done: Callable[[float], None] = lambda _: None,
) -> tuple[str, list[str]]:
    """Give the page of a thread's history, HTML; and what was left out of it: the oldest, if it is too much."""
    rows = _Rows(saver, thread_id, max_bytes // 2)
    for entry, copy in replay_from(saver, thread_id, done=done):
        rows.add(entry, copy)
    states = PageStates(saver, max_bytes // 2)
    without = erased = 0
    for row in reversed(rows.kept):
        if row["kind"] in _CHECKPOINTS and not row.get("problem"):
            try:
                state = states.state(row["position"])
            except EventErasedError:  # since it was replayed
                erased += 1
                continue
            except EventLogError as e:
                row["problem"] = str(e)
                continue
            if state is None:
                without += 1
            else:
                row["state"] = state
    left_out = []
    if rows.left_out:
        left_out.append(f"the oldest {rows.left_out:,} events")
    if without:
        left_out.append(f"the states at the oldest {without:,} of the checkpoints that are shown")
    if erased:
        left_out.append(f"the states at {erased:,} of the checkpoints, which have been erased while the page was made")
    document = {
        "thread": thread_id,
        "head": saver.log.head().position,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "left_out": left_out,
        "rows": list(rows.kept),
        "pool": states.pool,
    }
    return _filled(document, thread_id), left_out


class _Rows:
    """What the page says of each event: of the newest, up to so many bytes."""

    def __init__(self, saver: EventLogSaver, thread_id: str, max_bytes: int) -> None:
        self._saver = saver
        self._thread_id = thread_id
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sizes: deque[int] = deque()
        self._lanes = Lanes()
        self._shown: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.kept: deque[dict[str, Any]] = deque()
        self.left_out = 0

    def add(self, entry: AuditEntry, copy: Copy | None) -> None:
        """Add an event, and of a copy the checkpoints that it copied, as they were put."""
        if copy is not None:
            copied = [
                (p, s.checkpoint_ns, checkpoint_id, h) for s in copy.streams for checkpoint_id, p, h in s.checkpoints
            ]
            for position, ns, checkpoint_id, hidden in sorted(copied):
                self._add_copied(entry, ns, checkpoint_id, position, hidden=hidden)
        self._add(_row(entry), entry)
        for removal in entry.details.get("removals", ()):
            self._mark(removal["checkpoint_ns"], removal["removed"], f"removed by event {entry.position}")
            self._mark(removal["checkpoint_ns"], removal["hidden"], f"hidden by event {entry.position}")
        if entry.kind == "delete_thread" or entry.details.get("deleted_threads"):
            for key in list(self._shown):
                self._mark(key[0], [key[1]], f"removed by event {entry.position}")

    def _add_copied(self, copy: AuditEntry, ns: str, checkpoint_id: str, position: int, *, hidden: bool) -> None:
        found = next(replay_from(self._saver, None, after=position - 1, limit=1), None)
        if found is None or found[0].position != position or found[0].kind in _UNREADABLE:
            return  # erased since
        original = found[0]
        row = {**_row(original), "checkpoint_ns": ns, "copied": f"from {original.thread_id}, by event {copy.position}"}
        if hidden:
            row["gone"] = f"hidden when event {copy.position} copied it"
        self._add(row, original)

    def _add(self, row: dict[str, Any], entry: AuditEntry) -> None:
        if entry.kind in _CHECKPOINTS and entry.checkpoint_id is not None:
            ns = str(row["checkpoint_ns"])
            placed = self._lanes.place(ns, entry.checkpoint_id, entry.parent_id)
            row |= {"lane": placed.lane, "from": placed.parent, "fork": placed.is_fork}
            self._shown.setdefault((ns, entry.checkpoint_id), []).append(row)
        size = len(json.dumps(row))
        self.kept.append(row)
        self._sizes.append(size)
        self._bytes += size
        while self._bytes > self._max_bytes and len(self.kept) > 1:
            oldest = self.kept.popleft()
            self._bytes -= self._sizes.popleft()
            self.left_out += 1
            shown = self._shown.get((oldest.get("checkpoint_ns") or "", oldest.get("checkpoint_id") or ""), [])
            if oldest in shown:
                shown.remove(oldest)

    def _mark(self, ns: str, checkpoint_ids: list[str], how: str) -> None:
        for checkpoint_id in checkpoint_ids:
            for row in self._shown.pop((ns, checkpoint_id), ()):
                row["gone"] = how


def _row(entry: AuditEntry) -> dict[str, Any]:
    row = entry.as_json()
    row["changes"] = [_bounded(change) for change in row.get("changes", ())]
    if "details" in row:
        row["details"] = {name: _cut(value) for name, value in row["details"].items()}
    return row


def _bounded(change: Mapping[str, Any]) -> dict[str, Any]:
    bounded = dict(change)
    if len(bounded.get("added", ())) > _MOST_IN_A_CHANGE:
        more = len(bounded["added"]) - _MOST_IN_A_CHANGE
        bounded["added"] = [*bounded["added"][:_MOST_IN_A_CHANGE], f"... and {more:,} more"]
    if len(bounded.get("set", ())) > _MOST_IN_A_CHANGE:
        more = len(bounded["set"]) - _MOST_IN_A_CHANGE
        bounded["set"] = {**dict(list(bounded["set"].items())[:_MOST_IN_A_CHANGE]), "...": f"and {more:,} more"}
    return bounded


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 1000 else f"{text[:1000]}... ({len(text):,} characters)"


def _filled(document: Mapping[str, Any], thread_id: str) -> str:
    """Put the document into the page. In JSON, no character that HTML knows stands for itself."""
    folder = resources.files(__package__)
    script, style = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    data = json.dumps(document, separators=(",", ":"))  # ASCII alone
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    filled = folder.joinpath("page.html").read_text(encoding="utf-8")
    parts = {
        "POLICY": f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; base-uri 'none'; "
        "form-action 'none'",
        "TITLE": html.escape(_visible(thread_id)),
        "STYLE": style,
        "DATA": data,
        "SCRIPT": script,
    }
    made = []
    for piece in filled.split("%%"):  # of itself, the page has none
        made.append(parts.get(piece, piece))
    return "".join(made)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""Verifying a log against anchors, signed or not, and its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...eventlog.coverage import Coverage
from ...eventlog.errors import LogDamagedError, NotAnEventLogError
from ...eventlog.finding import Finding
from ...saver import EventLogSaver
from .anchors import Anchor
from .signing import is_signed_by
from .values import ValueCheck

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["verify"]


def verify(
    saver: EventLogSaver,
    *,
    anchors: Sequence[Anchor] = (),
    public_key: Ed25519PublicKey | None = None,
    coverage: Coverage,
    values: ValueCheck | None = None,
    quick: bool = False,
) -> Iterator[Finding]:
    """Yield everything that is not as it should be: of the anchors, the log, its projections and its values.

    Runs beside writers; what is appended meanwhile is not looked at. Memory does not grow with the log.

    Args:
        saver: the log.
        anchors: what it is held against. One that is signed by somebody else, or of another log, is a finding, and
            proves nothing.
        public_key: who has to have signed those that are documents; None: signatures are not looked at.
        coverage: is told how far the check is, and what the anchors prove.
        values: decodes what is in the log; None: nothing does.
        quick: chain and digests only.
    """
    believed = []
    for anchor in anchors:
        why = _why_not(anchor, public_key, saver)
        if why is None:
            believed.append(anchor.head)
        else:
            yield Finding("anchor", anchor.head.position, f"{anchor.source or 'the anchor'}: {why}")
    yield from saver.verify(anchors=believed, quick=quick, coverage=coverage)
    if values is not None and not quick:
        try:
            yield from values.check()
        except (LogDamagedError, NotAnEventLogError) as e:
            yield Finding("sqlite", None, f"the check of the values cannot go on: {e}")


def _why_not(anchor: Anchor, public_key: Ed25519PublicKey | None, saver: EventLogSaver) -> str | None:
    """Say why an anchor proves nothing about this log; None: it may."""
    if anchor.log_id is None:
        return None if public_key is None or anchor.source is None else "it is not signed"
    if public_key is not None and not is_signed_by(anchor, public_key):
        if anchor.signature is None:
            return "it is not signed"
        return "the signature is not by the key given, or the anchor was changed since it was signed"
    try:
        log_id = saver.log.log_id()
    except LogDamagedError:
        return None  # the log says nothing: the link will tell
    if anchor.log_id != log_id:
        return f"it is of the log {anchor.log_id.hex()}, and this is {log_id.hex()}"
    return None

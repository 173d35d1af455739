"""Asking before something is taken away."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from ..eventlog.errors import ConfigError
from ..saver.threads import ThreadInfo
from .printing import safe

__all__ = ["confirm"]

_SHOWN = 20


def confirm(what: str, threads: Sequence[ThreadInfo]) -> None:
    """Ask on stderr whether to do this with the threads; come back if the answer is yes.

    Raises:
        ConfigError: it is not, or there is nobody to answer.
    """
    for info in threads[:_SHOWN]:
        typer.echo(f"{safe(info.thread_id)}: {info.checkpoints:,} checkpoints, {info.bytes:,} bytes", err=True)
    if len(threads) > _SHOWN:
        typer.echo(f"and {len(threads) - _SHOWN:,} more", err=True)
    try:
        if typer.confirm(
            f"{what} {'this thread' if len(threads) == 1 else f'these {len(threads):,} threads'}?", err=True
        ):
            return
    except typer.Abort:
        typer.echo(err=True)
    raise ConfigError("not confirmed: nothing was changed. --yes does it without asking")

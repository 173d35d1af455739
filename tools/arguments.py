"""Arguments and options that several verbs share, so that each is spelt, and helped with, in one way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..eventlog.errors import ConfigError
from .completion import complete_thread

__all__ = [
    "MOST",
    "Allow",
    "AllowAny",
    "AsJson",
    "KeyFile",
    "LogFile",
    "Namespace",
    "ThreadId",
    "ThreadIds",
    "Where",
    "Yes",
    "metadata_filter",
]

# What a number may be at most: SQLite's are below twice that, and a little is added to some.
MOST: Final = 2**62

LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="The log.", show_default=False)]
ThreadId = Annotated[
    str,
    typer.Argument(metavar="THREAD", help="A thread's id.", show_default=False, autocompletion=complete_thread),
]
ThreadIds = Annotated[
    list[str],
    typer.Argument(metavar="THREAD...", help="Ids of threads.", show_default=False, autocompletion=complete_thread),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NS",
        help="Only this checkpoint namespace: '' is the root one, others are those of subgraphs.",
        show_default=False,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        help="Only those whose registered metadata has this value; dots in a key reach into nested metadata. VALUE is "
        "JSON if it can be read as such (true, 7, null, '\"7\"'), and text otherwise. May be given several times: all "
        "must match.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="KEYFILE",
        help="Of an encrypted log: a file that holds the passphrase (a newline at the end does not count), or the key "
        "itself, 32 bytes. Without it, LANGGRAPH_EVENTLOG_KEY is the passphrase, if it is set.",
        show_default=False,
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="MODULE:CLASS",
        help="Decode values of this class, too, by running its code. May be given several times.",
        show_default=False,
    ),
]
AllowAny = Annotated[
    bool,
    typer.Option(
        "--allow-any",
        help="Decode values of any class: runs whatever code the log names. Only for logs that you trust.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def metadata_filter(where: Sequence[str] | None) -> dict[str, Any]:
    """Give what --where asks for, as `EventLogSaver.threads` takes it.

    Raises:
        ConfigError: an entry is not KEY=VALUE, or a key is given twice.
    """
    wanted: dict[str, Any] = {}
    for entry in where or ():
        key, equals, value = entry.partition("=")
        if not key or not equals:
            raise ConfigError(f"--where takes KEY=VALUE, not {entry!r}")
        if key in wanted:
            raise ConfigError(f"--where names {key!r} twice: no thread could have both values")
        try:
            wanted[key] = json.loads(value, parse_constant=_no_json)
        except (ValueError, RecursionError):
            wanted[key] = value
    return wanted


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")

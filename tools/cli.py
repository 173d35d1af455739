"""The command line: one verb for each module of `verbs`, what errors look like, and what exit codes mean.

| exit code | meaning |
|---|---|
| 0 | done; a check found nothing wrong |
| 1 | a check, or a comparison, found something, or something is left to do: it was printed |
| 2 | the command makes no sense, or what it names is not there; nothing was changed |
| 3 | the log could not be opened, read or written; what the message does not name was not changed |
| 130 | stopped with Ctrl-C |
| 141 | whoever read the output has closed it (`head`, for instance): what was not printed was perhaps not checked |

What a verb does is a function of the library, which programs can call; a verb reads the arguments, and prints.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import typer

from ..eventlog.errors import ConfigError, DecodingError, EventLogError
from . import verbs
from .printing import complain

__all__ = ["EXIT_CLOSED", "EXIT_FOUND", "EXIT_LOG", "EXIT_USAGE", "PANELS", "app", "run", "verb_modules"]

EXIT_FOUND: Final = 1
EXIT_USAGE: Final = 2
EXIT_LOG: Final = 3
# What a shell makes of the signal SIGPIPE. Not 0: a check that could not print what it found has not found nothing.
EXIT_CLOSED: Final = 141
# In the order in which help shows them.
PANELS: Final = ("Look", "Prove", "Give space back", "Move")

app = typer.Typer(
    name="langgraph-eventlog",
    help="Look into the checkpoint logs of LangGraph agents, prove what happened, give space back, and move data.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Each verb says more with `--help`."""


def verb_modules() -> Iterator[tuple[str, ModuleType]]:
    """Give each verb's name and module, in the order of help."""
    found = [(info.name.rstrip("_").replace("_", "-"), info.name) for info in pkgutil.iter_modules(verbs.__path__)]
    modules = [(name, importlib.import_module(f"{verbs.__name__}.{module}")) for name, module in found]
    return iter(sorted(modules, key=lambda verb: (PANELS.index(verb[1].PANEL), verb[0])))


for _name, _module in verb_modules():
    app.command(_name, rich_help_panel=_module.PANEL, epilog=_module.EXAMPLES, no_args_is_help=True)(_module.command)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; give its exit code. Errors of the log go to stderr, in a line or two."""
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            # Here, and not when Python ends, where nobody would be told in which way it failed.
            sys.stdout.flush()
    except BrokenPipeError:
        _quiet()
        return EXIT_CLOSED
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # of a complaint
            return EXIT_CLOSED
        raise
    except OSError as e:  # a full disk, for instance
        _quiet()
        complain(e)
        return EXIT_LOG


def _run(arguments: list[str]) -> int:
    try:
        _check_utf8(arguments)
        # Also with `python -m`: help and completion speak of the command.
        app(arguments, prog_name=app.info.name)
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # typer, and rich, end with 1, which means something else here
            raise e.__context__ from None
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except ConfigError as e:
        complain(e)
        return EXIT_USAGE
    except BrokenPipeError:
        raise
    except DecodingError as e:
        hint = ". It is encrypted: set LANGGRAPH_AES_KEY to the key that it was encrypted with" if "+" in e.tag else ""
        complain(EventLogError(f"{e}{hint}"))
        return EXIT_LOG
    except (EventLogError, OSError) as e:
        complain(e)
        return EXIT_LOG
    return 0


def _check_utf8(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the argument {argument!r} is not UTF-8, as all names and paths are here") from None


def _quiet() -> None:
    """Have what is still to be printed go nowhere, or Python would complain again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

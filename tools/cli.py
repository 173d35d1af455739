"""The command line: one verb for each module of `verbs`, what errors look like, and what exit codes mean.

| exit code | meaning |
|---|---|
| 0 | done; a check found nothing wrong |
| 1 | a check, or a comparison, found something: it was printed |
| 2 | the command makes no sense, or what it names is not there; nothing was changed |
| 3 | the log could not be opened, read or written; what the message does not name was not changed |
| 130 | stopped with Ctrl-C |

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

from ..eventlog.errors import ConfigError, EventLogError
from . import verbs
from .printing import complain

__all__ = ["EXIT_FOUND", "EXIT_LOG", "EXIT_USAGE", "PANELS", "app", "run", "verb_modules"]

EXIT_FOUND: Final = 1
EXIT_USAGE: Final = 2
EXIT_LOG: Final = 3
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
        # Also with `python -m`: help and completion speak of the command.
        app(arguments, prog_name=app.info.name)
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except ConfigError as e:
        complain(e)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever reads our output has seen enough, `head` for instance. Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (EventLogError, OSError) as e:
        complain(e)
        return EXIT_LOG
    return 0

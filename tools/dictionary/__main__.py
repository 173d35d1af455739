"""Writes dictionary number 1, made anew, into a file.

    python -m langgraph_eventlog.tools.dictionary 1.zdict

The one that ships was made by this, and is never made again: records that name it must stay readable for ever.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from .making import dictionary_1


def main() -> None:
    """Make the dictionary; write it."""
    parser = argparse.ArgumentParser(
        prog="langgraph_eventlog.tools.dictionary", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("path", type=Path, help="the file to write, which must not be there yet")
    path: Path = parser.parse_args().path
    is_there = f"{path} is there already: a dictionary is made once; give another path"
    if path.exists():  # before one is made, which takes a while
        parser.error(is_there)
    made = dictionary_1()
    try:
        with path.open("xb") as file:
            file.write(made)
    except FileExistsError:
        parser.error(is_there)
    print(f"{path}: {len(made)} bytes, SHA-256 {hashlib.sha256(made).hexdigest()}")


if __name__ == "__main__":
    main()

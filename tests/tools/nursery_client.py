"""Has the nursery at a socket run a command, as if it ran here: python -I -S nursery_client.py SOCKET ARGUMENT ...

It is started for each command, so it imports little, and nothing that is installed.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main(path: str, *arguments: str) -> int:
    """Send the standard streams, the folder and the environment; give the command's exit code."""
    with socket.socket(socket.AF_UNIX) as nursery:
        nursery.connect(path)
        socket.send_fds(nursery, [b"."], [0, 1, 2])
        asked = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        with nursery.makefile("rw", encoding="utf-8") as lines:
            print(json.dumps(asked), file=lines, flush=True)
            return int(lines.readline())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The pages of tools/docs are true: what they say to type works, one block after the other, on the log of a shop.

Each page is worked through in a folder of its own that holds agent.db, and shop.py, which made it. A ```sh block
must succeed; after a line <!-- exit code: N --> it must end so. <!-- skip: reason --> leaves a block out.
<!-- shows: text --> before a block: its output contains the text. ```json blocks are read as JSON or JSON Lines.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..tools.nursery import nursery_at

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "tests" / "tools" / "shop.py"
PAGES = sorted((ROOT / "tools" / "docs").glob("*.md"))
BLOCK = re.compile(r"((?:^<!--.*?-->\n+)*)^```(sh|json)\n(.*?)^```$", re.M | re.S)
NOTE = re.compile(r"<!--\s*(exit code|skip|shows):\s*(.*?)\s*-->")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "agent.db"
    subprocess.run([sys.executable, str(SHOP), str(path)], check=True, timeout=300)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the shell runs as the command, without the second that importing takes: there are more than a hundred."""
    with nursery_at(tmp_path_factory.mktemp("nursery") / "socket") as words:
        yield words


def environment(folder: Path, program: str) -> dict[str, str]:
    """Put the command on the PATH, whether it is installed or not."""
    command = folder / "langgraph-eventlog"
    command.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_says_to_type_works(page: Path, shop: Path, program: str, tmp_path: Path) -> None:
    work, commands = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    commands.mkdir()
    shutil.copy(shop, work / "agent.db")
    shutil.copy(SHOP, work / "shop.py")
    env = environment(commands, program)
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```sh\n") == sum(language == "sh" for _, language, _ in BLOCK.findall(text))
    for notes, language, source in BLOCK.findall(text):
        said = dict(NOTE.findall(notes))
        if "skip" in said:
            continue
        if language == "json":
            try:
                json.loads(source)
            except ValueError:
                for line in source.splitlines():
                    json.loads(line)
            continue
        result = subprocess.run(
            ["bash", "-e", "-c", source],
            cwd=work,
            env=env,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        shown = f"{source}{result.stdout}{result.stderr}"
        assert result.returncode == int(said.get("exit code", 0)), shown
        assert "Traceback" not in result.stderr, shown
        if "shows" in said:
            assert said["shows"] in result.stdout, shown

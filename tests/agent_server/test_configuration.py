"""The ways to name the checkpointer in langgraph.json that the docstring of `saver/agent_server.py` gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMED = "langgraph_eventlog.saver.agent_server.checkpointer"
OWN = "from langgraph_eventlog.saver.agent_server import checkpointer\n"


def dockerfile(folder: Path, path: str) -> str:
    """Give what `langgraph dockerfile` makes of a project with this checkpointer."""
    configuration: dict[str, Any] = {
        "dependencies": ["."],
        "graphs": {"agent": "./graphs.py:agent"},
        "checkpointer": {"path": path},
    }
    (folder / "langgraph.json").write_text(json.dumps(configuration))
    (folder / "graphs.py").write_text("agent = None\n")
    langgraph = Path(sys.executable).with_name("langgraph")
    made = subprocess.run(
        [langgraph, "dockerfile", "made"],
        cwd=folder,
        env={"LANGGRAPH_CLI_NO_ANALYTICS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return (folder / "made").read_text()


def test_the_dotted_name_is_the_same_in_an_image(tmp_path: Path) -> None:
    assert f'ENV LANGGRAPH_CHECKPOINTER=\'{{"path": "{NAMED}"}}\'' in dockerfile(tmp_path, NAMED)


def test_a_file_of_the_projects_own_is_found_in_an_image(tmp_path: Path) -> None:
    (tmp_path / "persistence.py").write_text(OWN)
    made = dockerfile(tmp_path, "./persistence.py:checkpointer")
    line = next(line for line in made.splitlines() if line.startswith("ENV LANGGRAPH_CHECKPOINTER"))
    assert line.endswith("/persistence.py:checkpointer\"}'")
    assert '"/deps/' in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "loads"),
    [
        (NAMED, True),
        ("./persistence.py:checkpointer", True),
        (NAMED.replace(".checkpointer", ":checkpointer"), False),  # as the CLI's schema has it: the server does not
    ],
)
def test_the_server_loads_what_the_docstring_says(tmp_path: Path, path: str, loads: bool) -> None:
    (tmp_path / "persistence.py").write_text(OWN)
    # In a process of its own: the server reads its configuration from the environment as it is imported.
    loading = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from langgraph_api._checkpointer import _adapter; _adapter._load_checkpointer(sys.argv[1])",
            path,
        ],
        cwd=tmp_path,
        env={"DATABASE_URI": ":memory:", "REDIS_URI": "fake"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (loading.returncode == 0) is loads, loading.stdout + loading.stderr
    assert loads or "Could not find checkpointer" in loading.stderr

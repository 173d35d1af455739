"""The wheel: what is in it, and that it works in a new environment, beside a project's own tools/ and saver/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = ("eventlog", "projections", "saver", "tools")
DATA = {
    "langgraph_eventlog/eventlog/FORMAT.md",
    "langgraph_eventlog/eventlog/dictionaries/1.zdict",
    "langgraph_eventlog/eventlog/schema.sql",
    "langgraph_eventlog/saver/_witness.pyi",
    "langgraph_eventlog/tools/auditing/page.css",
    "langgraph_eventlog/tools/auditing/page.html",
    "langgraph_eventlog/tools/auditing/page.js",
    *(f"langgraph_eventlog/{folder}/py.typed" for folder in FOLDERS),
}

# What is compiled at installation, where there is a compiler.
COMPILED = [f"langgraph_eventlog/saver/_witness{suffix}" for suffix in EXTENSION_SUFFIXES]
HAS_COMPILER = (
    shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]) is not None
    and Path(sysconfig.get_paths()["include"], "Python.h").exists()
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)

# What is imported, and from where, by a program that only uses the checkpointer.
USE_THE_SAVER = """
import importlib, importlib.metadata, importlib.util, json
from langgraph.checkpoint.base import empty_checkpoint
import langgraph_eventlog.eventlog, langgraph_eventlog.projections, langgraph_eventlog.saver, langgraph_eventlog.tools

with langgraph_eventlog.saver.EventLogSaver("agent.db") as saver:
    config = saver.put({"configurable": {"thread_id": "1"}}, empty_checkpoint(), {"step": 0}, {})
    assert saver.get_tuple(config).metadata["step"] == 0
    assert list(saver.log.verify()) == []

distributions = importlib.metadata.packages_distributions()
print(json.dumps({
    "top_level": sorted(name for name, found in distributions.items() if "langgraph-checkpoint-eventlog" in found),
    "shadowed": [n for n in ("eventlog", "projections", "saver", "tools", "tests") if importlib.util.find_spec(n)],
    "origin": langgraph_eventlog.saver.__file__,
    "langgraph": importlib.util.find_spec("langgraph.graph") is not None,
    "witnesses": langgraph_eventlog.saver.witness.NO_OBJECTS is not None,
}))
"""

# A project with folders of these names, as many have.
USE_OWN_TOOLS_TOO = """
import eventlog, saver, tools
from langgraph.graph import START, MessagesState, StateGraph
from langgraph_eventlog.saver import EventLogSaver

def answer(state):
    return {"messages": [("ai", tools.search("x"))]}

with EventLogSaver("agent.db") as checkpointer:
    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile(checkpointer=checkpointer)
    result = graph.invoke({"messages": ["hi"]}, {"configurable": {"thread_id": "1"}})
    print([eventlog.OWNER, saver.OWNER, result["messages"][-1].content])
"""


def run(python: str | Path, *arguments: str | Path, cwd: Path, **more: str) -> str:
    """Run an interpreter without this one's environment, or with `more`; give what it prints."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment |= more
    command = [str(python), *map(str, arguments)]
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(tmp_path_factory: pytest.TempPathFactory, **more: str) -> Path:
    """Build a wheel, from a copy: what was built here before must not get into it."""
    source = tmp_path_factory.mktemp("source") / "project"
    skip = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "*.pyd")
    shutil.copytree(ROOT, source, ignore=skip)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source, cwd=out, **more)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, as it is built here."""
    return build(tmp_path_factory)


def files(wheel: Path) -> set[str]:
    """What a wheel installs."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def modules() -> set[str]:
    """What stands in the four folders, by the names under which it is installed."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {f"langgraph_eventlog/{path.relative_to(ROOT).as_posix()}" for path in paths}


@dataclass
class Installed:
    """A new environment with the wheel and LangGraph; `alone` is what the saver alone printed, before LangGraph."""

    python: Path
    prefix: Path
    alone: dict[str, object]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment of its own, the wheel installed by pip with what it says it depends on, later with its `tools`."""
    prefix = tmp_path_factory.mktemp("environment") / "venv"
    empty = tmp_path_factory.mktemp("empty")
    venv.create(prefix, with_pip=True)
    python = prefix / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", wheel, cwd=empty)
    alone = json.loads(run(python, "-c", USE_THE_SAVER, cwd=empty))
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[tools]", cwd=empty)
    return Installed(python, prefix, alone)


def test_the_wheel_holds_every_module_the_format_the_schema_and_nothing_else(wheel: Path) -> None:
    compiled = files(wheel).intersection(COMPILED)
    assert len(compiled) == HAS_COMPILER
    assert files(wheel) - compiled == modules() | DATA


def test_without_a_compiler_the_wheel_holds_what_is_needed(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert files(build(tmp_path_factory, CC="no-compiler-is-called-so")) == modules() | DATA


def test_the_wheel_says_which_licence_and_python_it_has(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())


def test_the_saver_works_with_nothing_but_the_declared_dependencies(installed: Installed) -> None:
    assert installed.alone["langgraph"] is False  # or this would not show it
    assert str(installed.alone["origin"]).startswith(str(installed.prefix))
    assert installed.alone["witnesses"] is HAS_COMPILER


def test_nothing_is_importable_but_langgraph_eventlog(installed: Installed) -> None:
    assert installed.alone["top_level"] == ["langgraph_eventlog"]
    assert installed.alone["shadowed"] == []


def test_a_project_keeps_its_own_tools_saver_and_eventlog(installed: Installed, tmp_path: Path) -> None:
    for folder in ("tools", "saver", "eventlog"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("OWNER = 'project'\ndef search(word): return 'found ' + word\n")
    (tmp_path / "main.py").write_text(USE_OWN_TOOLS_TOO)
    printed = run(installed.python, tmp_path / "main.py", cwd=tmp_path)
    assert printed.strip() == "['project', 'project', 'found x']"

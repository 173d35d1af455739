"""What README.md says is true: its examples run, its make targets exist, and the changelog knows the version.

Each ```python block runs by itself, in an empty folder. A line <!-- continues --> before a block runs it after the one
before it;
<!-- skip: reason --> leaves it out.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```")


@dataclass
class Example:
    """A block, with those it continues; `source` has the lines where README has them."""

    line: int
    source: str
    skip: str | None = None


def examples_of(text: str) -> list[Example]:
    """Give the python blocks of a markdown text."""
    examples: list[Example] = []
    lines = text.splitlines()
    note, start = "", None
    language = ""
    for number, line in enumerate(lines):
        if start is None and FENCE.match(line):
            start, language = number, line[3:].strip()
        elif start is not None and FENCE.match(line):
            if language == "python":
                before = ""
                if note == "continues":
                    before = examples.pop().source
                code = "\n".join(lines[start + 1 : number])
                padding = "\n" * (start + 1 - before.count("\n"))
                skip = note.removeprefix("skip:").strip() if note.startswith("skip:") else None
                examples.append(Example(start + 2, f"{before}{padding}{code}\n", skip))
            start, note = None, ""
        elif start is None and line.strip():
            comment = re.fullmatch(r"<!--\s*(.*?)\s*-->", line.strip())
            note = comment[1] if comment else ""
    return examples


README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = examples_of(README)


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line-{example.line}")
def test_the_example_runs(example: Example, tmp_path: Path) -> None:
    if example.skip is not None:
        pytest.skip(example.skip)
    script = tmp_path / "script" / "readme_example.py"
    script.parent.mkdir()
    script.write_text(example.source, encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-W", "error::ResourceWarning", str(script)]
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "Exception ignored" not in result.stderr  # a ResourceWarning from a finalizer ends nothing, but says so


def test_every_make_target_that_is_named_exists() -> None:
    named = {m for code in re.findall(r"`([^`]+)`|^(.*)$", README, re.M) for part in code for m in _make_targets(part)}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    defined = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    assert named, "README.md names no make target"
    assert named <= defined


def _make_targets(code: str) -> list[str]:
    return re.findall(r"^make ([a-z][a-z-]*)", code.strip())


def test_the_changelog_mentions_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert version in headings


def test_blocks_are_found_with_their_lines_and_notes() -> None:
    """This file's own parser: a mistake in it would let examples go unchecked."""
    text = """# Title

```python
x = 1
```
<!-- continues -->

```python
assert x == 1
```

```sh
make test
```

<!-- skip: needs a key -->
```python
y
```
"""
    first, second = examples_of(text)
    assert first.source.splitlines()[3] == "x = 1"
    assert first.source.splitlines()[8] == "assert x == 1"
    assert (second.skip, second.source.splitlines()[17]) == ("needs a key", "y")

"""Every verb has help with examples that can be typed, and every option of every verb is in some page of tools/docs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from langgraph_eventlog.tools import arguments
from langgraph_eventlog.tools.cli import PANELS, app, verb_modules
from typer.models import OptionInfo

PAGES = {page.name: page.read_text(encoding="utf-8") for page in Path(__file__).parents[2].glob("tools/docs/*.md")}
MODULES = dict(verb_modules())
ROOT: Any = typer.main.get_command(app)
EXAMPLE = re.compile(r"`(langgraph-eventlog [^`]+)`")
# Spelt once, in arguments.py: they mean the same everywhere, and are explained once.
SHARED = {
    option
    for name in arguments.__all__
    for meta in getattr(getattr(arguments, name), "__metadata__", ())
    if isinstance(meta, OptionInfo)
    for option in (meta.default, *(meta.param_decls or ()))
}
HELP = {"--help", "-h"}


def options_of(verb: str) -> list[Any]:
    return [one for one in ROOT.commands[verb].params if one.param_type_name == "option"]


def mentions(text: str, option: str) -> bool:
    """Tell whether an option, not another that begins so, stands in a text."""
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


@pytest.mark.parametrize("verb", MODULES)
def test_a_verb_says_what_it_is_for_and_each_argument_what_it_is(verb: str) -> None:
    command = ROOT.commands[verb]
    assert MODULES[verb].PANEL in PANELS
    assert command.help
    assert len(command.get_short_help_str(200)) > 10
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{verb}: {parameter.name} has no help"


@pytest.mark.parametrize("verb", MODULES)
def test_its_help_ends_with_examples_that_can_be_typed(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = EXAMPLE.findall(MODULES[verb].EXAMPLES)
    assert ROOT.commands[verb].epilog == MODULES[verb].EXAMPLES
    assert examples, f"{verb} has no example"
    assert MODULES[verb].EXAMPLES.count("`") == 2 * len(examples)
    for example in examples:
        _, named, *rest = shlex.split(example)
        assert named == verb, example
        for word in rest:  # what an example names may have to be there, though it is parsed only
            if re.fullmatch(r"[\w-]+\.\w+", word):
                (tmp_path / word).touch()
        with ROOT.commands[verb].make_context(verb, list(rest)):
            pass


@pytest.mark.parametrize("verb", MODULES)
def test_each_of_its_options_is_explained_in_a_page_that_shows_it(verb: str) -> None:
    typed = re.compile(rf"langgraph-eventlog {re.escape(verb)}(?![\w-])")
    own = "\n".join(text for text in PAGES.values() if typed.search(text))
    assert own, f"no page of tools/docs shows how to type {verb}"
    everywhere = "\n".join(PAGES.values())
    for parameter in options_of(verb):
        for option in [*parameter.opts, *parameter.secondary_opts]:
            text = everywhere if option in SHARED | HELP else own
            assert mentions(text, option), f"{option} of {verb} is in no page that shows {verb}"


@pytest.mark.parametrize("verb", MODULES)
def test_a_short_option_means_the_same_for_every_verb(verb: str) -> None:
    meanings = {
        short: parameter.name
        for other in MODULES
        for parameter in options_of(other)
        for short in parameter.opts
        if re.fullmatch(r"-\w", short)
    }
    for parameter in options_of(verb):
        for short in parameter.opts:
            if re.fullmatch(r"-\w", short):
                assert meanings[short] == parameter.name


def test_an_example_with_an_option_that_is_not_there_would_be_found() -> None:
    usage_error = typer.BadParameter.__base__  # click's own, or that of the copy that typer brings
    assert usage_error is not None
    for wrong in (["--colour"], ["--limit", "many"], ["another"]):
        with pytest.raises(usage_error):
            ROOT.commands["threads"].make_context("threads", ["agent.db", *wrong])
    assert mentions("`--limit N`", "--limit")
    assert not mentions("`--limits`, `--no-limit`", "--limit")
    assert {"--json", "--key-file", "--allow", "--allow-any"} <= SHARED


def test_the_command_shows_help_for_a_verb(run: Any) -> None:
    shown = run("threads", "--help").stdout
    assert "Usage: langgraph-eventlog threads" in shown
    assert "--where" in shown
    assert "langgraph-eventlog threads agent.db --limit 10" in shown
    every = run("--help").stdout
    assert all(verb in every for verb in MODULES)
    assert all(panel in every for panel in {module.PANEL for module in MODULES.values()})

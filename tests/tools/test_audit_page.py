"""`audit --html`: a page for people who would rather look, tried in a real browser."""

from __future__ import annotations

import fcntl
import json
import os
import re
import runpy
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.auditing.page import thread_page, write_page
from langgraph_eventlog.tools.auditing.timeline import Lanes
from langgraph_eventlog.tools.opening import open_log

from .erasing import erasing_before

SHOP = runpy.run_path(str(Path(__file__).with_name("shop.py")))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = [
    '</script><img src=x onerror="window.owned=1">',
    "<!--<script>window.owned=1",
    "]]><svg onload=window.owned=1>",
    "'\"><iframe srcdoc='<script>parent.owned=1</script>'>",
    "line\u2028separator\u2029s",
    "\u202eright to left\u2066",
    "%%DATA%%{{7*7}}${window.owned=1}",
    "javascript:window.owned=1",
    "</title></style><b>",
    "\U0001f600 and \x1b[31m\x07",
]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian's chromium: the one that is there, or one that is installed now, if that is possible."""
    # One of the workers installs it.
    with open(tmp_path_factory.getbasetemp().parent / "chromium.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(map(shutil.which, BROWSERS)):
            if os.geteuid() != 0 or shutil.which("apt-get") is None:
                pytest.skip("there is no chromium on the PATH, and it cannot be installed here")
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", "chromium"]):
                done = subprocess.run(["apt-get", *command], env=env, capture_output=True, timeout=600, check=False)
                if done.returncode != 0:
                    pytest.skip(f"chromium cannot be installed: {done.stderr.decode(errors='replace')[-300:]}")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("chromium was installed, but is not on the PATH")
    return found


class Opened:
    """A page open in the browser, and all that it did beside being shown."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.context = browser.new_context(color_scheme="light", viewport={"width": 1200, "height": 800})
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    @property
    def chosen(self) -> str:
        text: str = self.page.text_content("#chosen h2")
        return text

    def check_quiet(self) -> None:
        """Nothing ran, was loaded, or complained but the page itself."""
        assert self.said == []
        assert [url.partition("#")[0] for url in self.requests] == [self.page.url.partition("#")[0]]
        assert self.page.evaluate("window.owned") is None


@pytest.fixture
def browse(chromium: str) -> Iterator[Any]:
    """Open a page in the browser; at the end nothing may have gone wrong in it."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        opened: list[Opened] = []

        def browse_page(path: Path) -> Opened:
            opened.append(Opened(browser, path))
            return opened[-1]

        yield browse_page
        for one in opened:
            one.check_quiet()
        browser.close()


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def page_of(run: Any, shop: Path, tmp_path: Path) -> Any:
    """Write the page of a thread of the shop, with the command."""

    def make(thread: str) -> Path:
        assert run("audit", shop, thread, "--html", tmp_path / "page.html").stdout.startswith("wrote ")
        return tmp_path / "page.html"

    return make


def test_a_page_shows_the_steps_and_what_each_changed_and_the_state_after_it(page_of: Any, browse: Any) -> None:
    opened = browse(page_of("order-2"))
    assert opened.page.title() == "order-2: its history"
    assert "put · step 9 · loop · agent" in opened.chosen
    text = opened.page.inner_text("#chosen")
    assert "What changed" in text
    assert "State after this step" in text
    assert [box for box in opened.page.locator("#chosen .value").all_inner_texts() if box == "human: please refund it"]
    assert text.count("tool: 250") == 2


def test_clicks_and_keys_choose_what_is_shown(page_of: Any, browse: Any) -> None:
    opened = browse(page_of("order-2"))
    page = opened.page
    last = opened.chosen
    page.keyboard.press("ArrowUp")
    before = opened.chosen
    assert before != last
    assert page.locator('[aria-selected="true"]').count() == 1
    assert page.locator("#rows").get_attribute("aria-activedescendant") == page.locator(
        '[aria-selected="true"]'
    ).get_attribute("id")
    page.keyboard.press("j")
    assert opened.chosen == last
    page.keyboard.press("Home")
    first = opened.chosen
    assert "thread" in first
    page.keyboard.press("ArrowUp")  # there is nothing before it
    assert opened.chosen == first
    page.keyboard.press("End")
    assert opened.chosen == last
    page.locator(".row").nth(2).click()
    assert opened.chosen not in (first, last)
    steps = page.locator(".row").count()
    page.keyboard.press("w")
    assert page.locator(".row").count() > steps
    assert page.is_checked("#writes")
    page.keyboard.press("/")
    page.keyboard.type("refund it")
    found = page.locator(".row").count()
    assert 0 < found < steps
    page.keyboard.type(" no such text")
    assert page.locator(".row").count() == 0
    assert page.inner_text("#chosen") == "No event is like this."
    page.keyboard.press("Escape")
    assert page.locator(".row").count() > found


def test_nothing_that_a_state_holds_runs_and_all_of_it_is_shown_as_text(
    make_saver: Any, run: Any, tmp_path: Path, browse: Any
) -> None:
    thread = "".join(HOSTILE)
    with make_saver(tmp_path / "hostile.db") as saver:
        saver.register_thread(thread, name=thread, metadata={text: text for text in HOSTILE})
        config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": HOSTILE[0], "run_id": HOSTILE[1]}}
        for step, text in enumerate(HOSTILE):
            checkpoint = empty_checkpoint()
            messages = [HumanMessage(one, id=one) for one in HOSTILE[: step + 1]]
            calls = [{"name": text, "args": {text: text}, "id": text}]
            checkpoint["channel_values"] = {
                "messages": [*messages, AIMessage(text, tool_calls=calls)],
                text: text,
                "facts": {one: one for one in HOSTILE},
                "surrogate": "\ud800 alone",
            }
            config = saver.put(config, checkpoint, {"source": text, "step": step}, {})
            saver.put_writes(config, [(text, text)], text, f"~__pregel_pull, {text}")
    run("audit", tmp_path / "hostile.db", thread, "--html", tmp_path / "page.html")
    opened = browse(tmp_path / "page.html")
    page = opened.page
    page.keyboard.press("w")
    for _ in range(page.locator(".row").count()):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    shown = page.evaluate("document.body.innerText")
    for text in HOSTILE[:4]:
        assert text in shown
    assert "line\\u2028separator\\u2029s" in shown
    assert "\\u202eright to left\\u2066" in shown
    assert "\\u001b[31m" in shown
    assert " alone" in shown  # LangGraph's serializer stores no lone surrogate
    assert not set(shown) & set("\u2028\u2029\u202e\u2066\x1b\x07")
    made = page.evaluate("[...document.querySelectorAll('*')].map((e) => e.localName)")
    assert made.count("script") == 2
    assert not {"img", "iframe", "b", "object", "embed", "link", "a"} & set(made)
    # What runs in the page could put nothing there that would run or be loaded, either.
    page.evaluate(
        "() => { const made = document.createElement('script'); made.textContent = 'window.owned = 1';"
        "document.body.append(made); }"
    )
    assert page.evaluate("window.owned") is None
    assert any("Content Security Policy" in said for said in opened.said)
    opened.said.clear()


def test_a_fork_has_a_lane_of_its_own(make_saver: Any, tmp_path: Path, browse: Any) -> None:
    with make_saver(tmp_path / "fork.db") as saver:
        graph, run = SHOP["support"](saver), SHOP["_of"]
        graph.invoke({"messages": [HumanMessage("how much?", id="1")], "item": "lamp"}, run("forked"))
        middle = list(graph.get_state_history(run("forked")))[2]
        graph.invoke(None, middle.config)
        write_page(saver, "forked", tmp_path / "page.html")
    data = data_of((tmp_path / "page.html").read_text())
    lanes = [row["lane"] for row in data["rows"] if row["kind"] == "put"]
    assert sorted(set(lanes)) == [0, 1]
    [fork] = [row for row in data["rows"] if row.get("fork")]
    assert (fork["lane"], fork["from"]) == (1, 0)
    opened = browse(tmp_path / "page.html")
    assert opened.page.locator(".row", has_text="fork").count() == 1
    assert opened.page.locator(".row", has_text="fork").locator("path.c1").count() >= 1


def test_namespaces_that_have_ended_leave_their_place_to_others(make_saver: Any, tmp_path: Path, browse: Any) -> None:
    saver = make_saver(":memory:")
    for n in range(30):
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": f"plan:{n}"}}
        for step in range(2):
            config = saver.put(config, empty_checkpoint(), {"source": "loop", "step": step}, {})
    write_page(saver, "t", tmp_path / "page.html")
    page = browse(tmp_path / "page.html").page
    assert page.locator(".row").count() == 60
    places = page.evaluate("[...document.querySelectorAll('circle')].map((dot) => dot.getAttribute('cx'))")
    assert len(places) == 60
    assert len(set(places)) == 1


def test_what_was_removed_since_is_still_shown_and_says_so(page_of: Any, browse: Any) -> None:
    opened = browse(page_of("gone"))
    assert opened.page.locator(".row.gone").count() == 6
    opened.page.locator(".row.gone").last.click()
    assert "removed by event" in opened.chosen
    assert "human: my password is hunter2" in opened.page.inner_text("#chosen")


def test_a_forked_thread_shows_the_steps_that_it_was_copied_from(page_of: Any) -> None:
    rows = data_of(page_of("order-3-again").read_text())["rows"]
    steps = [(row["step"], "copied" in row) for row in rows if row["kind"] == "put"]
    assert steps == [(step, step < 7) for step in range(-1, 11)]
    assert {row["lane"] for row in rows if row["kind"] == "put"} == {0}
    assert all(row["state"] for row in rows if row["kind"] == "put")


def test_dark_mode_small_windows_and_print_are_looked_after(page_of: Any, browse: Any) -> None:
    opened = browse(page_of("order-1"))
    page = opened.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) != light
    page.emulate_media(color_scheme="light", media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.timeline')).overflow") == "visible"
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_states_on_the_page_are_those_of_the_log(shop: Path) -> None:
    with open_log(shop) as log:
        data = data_of(thread_page(log, "planner")[0])
        states = {row["position"]: row["state"] for row in data["rows"] if row["kind"] == "put"}
        assert len(states) > 20
        for event in log.log.read(thread_id="planner"):
            if event.position in states:
                values = log.log.values(event)
                decoder = log._core.memory.decoder(log.serde)
                assert set(states[event.position]) == set(values)
                steps = [data["pool"][one] for one in states[event.position].get("steps", [""])[1:]]
                held = decoder.value(values["steps"]) if "steps" in values else []
                assert steps == [["text", step] for step in held]


def test_a_page_of_a_long_thread_is_bounded_and_says_what_is_left_out(
    make_saver: Any, tmp_path: Path, browse: Any
) -> None:
    saver = make_saver(":memory:")
    config: Any = {"configurable": {"thread_id": "long", "checkpoint_ns": ""}}
    messages = []
    for step in range(300):
        messages.append(HumanMessage(f"question {step} " * 40, id=str(step)))
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": list(messages)}
        config = saver.put(config, checkpoint, {"source": "loop", "step": step}, {})
    whole, nothing = thread_page(saver, "long")
    assert nothing == []
    left_out = write_page(saver, "long", tmp_path / "page.html", max_bytes=100_000)
    page = (tmp_path / "page.html").read_text()
    assert len(whole) > 400_000
    assert len(page) < 150_000
    events, states = (int(re.search(r"[\d,]+", said)[0].replace(",", "")) for said in left_out)  # type: ignore[index]
    rows = data_of(page)["rows"]
    assert len(rows) == 300 - events
    assert sum("state" not in row for row in rows) == states
    assert rows[-1]["step"] == 299  # the newest are kept
    said = [data_of(page)["pool"][one] for one in rows[-1]["state"]["messages"][1:]]
    assert said[-1] == ["human", "question 299 " * 40]
    assert ["more", "left out: too much for one page"] in said
    opened = browse(tmp_path / "page.html")
    assert f"the oldest {events} events" in opened.page.inner_text("#left-out")


def test_the_log_itself_is_never_written_over(make_saver: Any, run: Any, shop: Path, tmp_path: Path) -> None:
    before = shop.read_bytes()
    assert "is the log itself" in run("audit", shop, "order-1", "--html", shop, code=2).stderr
    (tmp_path / "other.html").symlink_to(shop)
    with open_log(shop) as log, pytest.raises(ConfigError, match="is the log itself"):
        write_page(log, "order-1", tmp_path / "other.html")
    assert shop.read_bytes() == before
    run("audit", shop, "order-1", "--html", tmp_path / "nowhere" / "page.html", code=3)


def test_a_page_is_for_its_owner_only_and_leaves_nothing_beside_it(page_of: Any, tmp_path: Path) -> None:
    path = page_of("order-1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir() if "html" in p.name) == ["page.html"]
    page = path.read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_lanes_follow_parents_and_namespaces_have_their_own() -> None:
    lanes = Lanes()
    assert lanes.place("", "a", None).lane == 0
    assert lanes.place("", "b", "a").lane == 0
    assert lanes.place("ns", "a", None).lane == 1
    fork = lanes.place("", "c", "a")
    assert (fork.lane, fork.parent, fork.is_fork) == (2, 0, True)
    assert lanes.place("", "d", "c").lane == 2
    again = lanes.place("", "b", "a")
    assert (again.lane, again.is_fork) == (0, False)


def test_a_page_is_made_of_a_log_in_memory_too(make_saver: Any) -> None:
    saver: EventLogSaver = make_saver(":memory:")
    saver.register_thread("t", name="T")
    assert [row["kind"] for row in data_of(thread_page(saver, "t")[0])["rows"]] == ["thread"]


@pytest.mark.parametrize("number", [1, 3, 12, 60])
def test_what_is_erased_while_the_page_is_made_is_left_out_and_is_no_damage(
    shop: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with open_log(shop) as log:
        erased = erasing_before(monkeypatch, log, number, "long")
        page, left_out = thread_page(log, "long")
    assert erased
    rows = data_of(page)["rows"]
    assert not any("problem" in row for row in rows)
    checkpoints = [row for row in rows if row["kind"] in ("put", "restate")]
    assert all(row.get("state") != {} for row in checkpoints)
    without = sum("state" not in row for row in checkpoints)
    assert bool(without) == any("erased while the page was made" in what for what in left_out)

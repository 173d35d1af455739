"""With EVENTLOG_TEST_KEY, a log that is opened without a word about its key is encrypted with that one.

tests/conftest.py loads this, and puts its folder on the path of the processes that tests start.
"""

from __future__ import annotations

import os


def key_of_tests() -> str | bytes | None:
    """Give the key: 64 hexadecimal digits are a raw one, which costs no time."""
    text = os.environ.get("EVENTLOG_TEST_KEY") or None
    return bytes.fromhex(text) if text is not None and len(text) == 64 else text


def install() -> None:
    """Make it the default of whatever opens a log."""
    from langgraph_eventlog.eventlog import EventLog
    from langgraph_eventlog.saver import EventLogSaver

    for opener in (EventLog, EventLogSaver):
        assert "key" in opener.__init__.__kwdefaults__
        opener.__init__.__kwdefaults__["key"] = key_of_tests()


if key_of_tests() is not None:
    install()

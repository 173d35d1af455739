"""The saver against the model.

EVENTLOG_MODEL_EXAMPLES=2000 (and EVENTLOG_MODEL_STEPS=80) look longer, from another seed each time.
"""

from __future__ import annotations

import os
import unittest
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from langgraph_eventlog.saver import differences, encoding, parts, written

from .machine import SaverMachine

LONG = int(os.environ.get("EVENTLOG_MODEL_EXAMPLES", "0"))
STEPS = int(os.environ.get("EVENTLOG_MODEL_STEPS", "80"))


def effort(examples: int) -> settings:
    return settings(
        max_examples=LONG or examples,
        stateful_step_count=STEPS if LONG else 40,
        derandomize=not LONG,
        deadline=None,
        database=None,
        print_blob=True,
        # Shrinking runs the machine for minutes; EVENTLOG_MODEL_SHRINK=1 asks for it.
        phases=set(Phase) if os.environ.get("EVENTLOG_MODEL_SHRINK") else set(Phase) - {Phase.shrink, Phase.explain},
        suppress_health_check=list(HealthCheck),
    )


class MemoryMachine(SaverMachine):
    """The same in memory: one connection, which readers and writers share, and nothing to reopen."""

    path = ":memory:"


TestOnFile = SaverMachine.TestCase
TestOnFile.settings = effort(32)
TestInMemory = MemoryMachine.TestCase
TestInMemory.settings = effort(10)


def take_everything_apart(case: unittest.TestCase) -> None:
    """Store all values as differences, however small, as long as a test runs."""
    for module, name, value in [
        (parts, "_MIN_BYTES_APART", 0),
        (parts, "_MIN_BYTES_AN_ELEMENT", 0),
        (encoding, "_MIN_FIELD_BYTES", 0),
        (written, "_MIN_BYTES", 1),
        (differences, "COST_OF_DIFFERENCE", -1_000),
        (differences, "_MIN_PATCHED", 1),
        (differences, "weight_of_difference", lambda _: 0),
    ]:
        patched = mock.patch.object(module, name, value)
        patched.start()
        case.addCleanup(patched.stop)


class TestWithDifferences(SaverMachine.TestCase):
    """The same with everything taken apart, and stored as differences however small."""

    settings = effort(16)

    def setUp(self) -> None:
        take_everything_apart(self)

"""The saver against the model.

EVENTLOG_MODEL_EXAMPLES=2000 (and EVENTLOG_MODEL_STEPS=80) look longer, from another seed each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

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
TestOnFile.settings = effort(45)
TestInMemory = MemoryMachine.TestCase
TestInMemory.settings = effort(10)

"""What must outlive a removal."""

from __future__ import annotations

from typing import Any

from .seeing import same

__all__ = ["Survivors"]


class Survivors:
    """Whatever goes meanwhile: the delta channels of the checkpoints that stay are what they were."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine

    def __enter__(self) -> None:
        model = self._machine.model
        self._before = {
            (id_, thread, ns): self._machine.history((thread, ns), id_, model.delta_candidates((thread, ns), id_))
            for id_, thread, ns in model.visible()
        }

    def __exit__(self, kind: Any, e: Any, tb: Any) -> None:
        if kind is not None:
            return
        there = set(self._machine.model.visible())
        for (id_, thread, ns), before in self._before.items():
            if (id_, thread, ns) in there:
                same(self._machine.history((thread, ns), id_, before), before)

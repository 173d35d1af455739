"""How much work there is: in full (what the floors are about), quick (a minute), and the least that still works."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "SMALLEST", "Sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Steps, threads, repetitions."""

    rounds: int
    chat: int  # steps
    threads: int
    thread_steps: int
    documents: int
    document_bytes: int
    edits: int
    many: int  # checkpoints to look for some in
    reads: int  # repetitions of a quick read
    cold: int  # new processes
    tasks: int
    task_steps: int
    delta: int  # steps
    graph: int  # steps
    growth: int  # steps
    look_up: tuple[int, int]  # checkpoints, few and many
    memory_threads: int
    compaction_bytes: int  # of the log
    disturbed_bytes: int  # of the log that is compacted while others put
    compaction_steps: int  # of each of its chats
    putting_s: float  # how long is put without a compaction, to compare with


FULL = Sizes(
    rounds=3, chat=450, threads=150, thread_steps=8, documents=20, document_bytes=20_000, edits=150, many=10_000,
    reads=15, cold=5, tasks=32, task_steps=16, delta=450, graph=1_000, growth=2_000, look_up=(10_000, 100_000),
    memory_threads=10_000, compaction_bytes=200_000_000,
    disturbed_bytes=40_000_000, compaction_steps=400, putting_s=10.0,
)  # fmt: skip
QUICK = Sizes(
    rounds=1, chat=450, threads=150, thread_steps=8, documents=20, document_bytes=20_000, edits=60, many=3_000,
    reads=9, cold=3, tasks=32, task_steps=8, delta=150, graph=250, growth=600, look_up=(1_000, 4_000),
    memory_threads=1_000, compaction_bytes=20_000_000,
    disturbed_bytes=10_000_000, compaction_steps=400, putting_s=3.0,
)  # fmt: skip
SMALLEST = Sizes(
    rounds=1, chat=12, threads=2, thread_steps=3, documents=3, document_bytes=2_000, edits=4, many=30,
    reads=2, cold=1, tasks=3, task_steps=2, delta=12, graph=8, growth=40, look_up=(20, 40),
    memory_threads=20, compaction_bytes=300_000,
    disturbed_bytes=300_000, compaction_steps=40, putting_s=0.2,
)  # fmt: skip

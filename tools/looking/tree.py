"""Drawing checkpoints as a tree, newest first, as `git log --graph` draws commits. Pure: knows ids and parents only.

Each fork is drawn next to what it was forked from, and ends in it, so that there are as many lanes as forks of forks
are nested, however many there are. Whatever parents say, every id is drawn once: a missing parent ends its branch, and
a cycle is cut at its least id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Line", "draw"]


class Line(NamedTuple):
    """A line of the drawing.

    Attributes:
        graph: what is drawn, for instance "| * ".
        id: whose line it is; None: it only joins others, or is empty, between two trees.
        is_root: nothing that is drawn is its parent.
        is_cut: its parent is drawn above it: they are a cycle.
    """

    graph: str
    id: str | None = None
    is_root: bool = False
    is_cut: bool = False


def draw(parents: Mapping[str, str | None]) -> Iterator[Line]:
    """Yield the lines of a drawing, children above parents, the branch with the greatest id first at every fork.

    Args:
        parents: of each id that is to be drawn, its parent's; None, or one that is not drawn: it is a root.
    """
    known = {one: parent if parent in parents else None for one, parent in parents.items()}
    cut = _cut_cycles(known)
    children: dict[str, list[str]] = {one: [] for one in known}
    roots: list[str] = []
    for one, parent in known.items():
        (roots if parent is None else children[parent]).append(one)
    newest = _newest(roots, children)
    for branches in (roots, *children.values()):
        branches.sort(key=newest.__getitem__, reverse=True)
    for n, root in enumerate(roots):
        if n:
            yield Line("")
        yield from _draw_tree(root, children, cut)


def _draw_tree(root: str, children: Mapping[str, list[str]], cut: set[str]) -> Iterator[Line]:
    # Not recursive: histories are thousands of checkpoints deep. What is to be drawn next is at the end.
    todo: list[tuple[str, int] | Line] = [(root, 0)]
    while todo:
        top = todo.pop()
        if isinstance(top, Line):
            yield top
            continue
        one, lane = top
        todo.append(Line("| " * lane + "* ", one, is_root=one == root, is_cut=one in cut))
        for n, child in reversed(list(enumerate(children[one]))):
            if n:
                todo.append(Line("| " * lane + "|/"))
            todo.append((child, lane + 1 if n else lane))


def _cut_cycles(parents: dict[str, str | None]) -> set[str]:
    """Make the least id of each cycle a root; give those."""
    cut: set[str] = set()
    done: set[str] = set()
    for start in parents:
        path: list[str] = []
        on_path: set[str] = set()
        one: str | None = start
        while one is not None and one not in done and one not in on_path:
            path.append(one)
            on_path.add(one)
            one = parents[one]
        if one in on_path:
            least = min(path[path.index(one) :])
            parents[least] = None
            cut.add(least)
        done |= on_path
    return cut


def _newest(roots: list[str], children: Mapping[str, list[str]]) -> dict[str, str]:
    """Give for each id the greatest of it and all that descend from it."""
    order = list(roots)
    for one in order:  # grows meanwhile
        order += children[one]
    newest: dict[str, str] = {}
    for one in reversed(order):
        newest[one] = max([one, *(newest[child] for child in children[one])])
    return newest

"""Line charts as SVG, in light and dark."""

from __future__ import annotations

import math
import statistics
from html import escape

__all__ = ["chart", "smoothed"]

Curve = list[tuple[int, float]]

_NAMES = {"ours": "EventLogSaver", "sqlite": "SqliteSaver", "memory": "InMemorySaver", "postgres": "PostgresSaver"}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 380, 64, 24, 64, 48
_STYLE = """
  svg { background: #fff; color-scheme: light dark; font: 13px system-ui, sans-serif }
  text { fill: #333 } .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #ddd } path { fill: none; stroke-width: 2.5 }
  .ours { stroke: #0a7d4f } .sqlite { stroke: #c2410c } .memory { stroke: #8b8b8b } .postgres { stroke: #2563eb }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #ddd } .grid { stroke: #30363d }
    .ours { stroke: #34d399 } .sqlite { stroke: #fb923c }
  }
"""


def smoothed(curve: Curve, width: int = 15) -> Curve:
    """Give the running median: single calls jump about."""
    values = [value for _, value in curve]
    half = width // 2
    return [(step, statistics.median(values[max(0, n - half) : n + half + 1])) for n, (step, _) in enumerate(curve)]


def _ticks(highest: float) -> list[float]:
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [n * step for n in range(math.ceil(highest / step) + 1)]


def chart(title: str, unit: str, curves: dict[str, Curve]) -> str:
    """Draw values over steps, a curve for each peer."""
    across = max(step for curve in curves.values() for step, _ in curve)
    ticks = _ticks(max(value for curve in curves.values() for _, value in curve))

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / across

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / ticks[-1]

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
    ]
    for tick in ticks:
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.10g}</text>'
        )
    for step in _ticks(across):
        if step <= across:
            bottom = _HEIGHT - _BOTTOM + 20
            lines.append(f'<text x="{x(step):.1f}" y="{bottom}" text-anchor="middle">{step:,.10g}</text>')
    lines.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">steps</text>')
    lines.append(f'<text x="{_LEFT - 8}" y="{_TOP - 12}" text-anchor="end">{escape(unit)}</text>')
    for n, (name, curve) in enumerate(curves.items()):
        path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in curve)
        left = _LEFT + 12 + 150 * n
        lines.append(f'<path class="{name}" d="M{path}"/><path class="{name}" d="M{left} 44h20"/>')
        lines.append(f'<text x="{left + 26}" y="48">{escape(_NAMES[name])}</text>')
    return "\n".join([*lines, "</svg>", ""])

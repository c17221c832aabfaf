"""Quality against memory as an SVG: a point for each candidate, the Pareto front as a line, the limits dashed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from quantize.comparison.candidates import Candidate, Limits, front

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 56, 62
_LOSS = "KL divergence from the source, nats a token"
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.axis { stroke: #8c959f } .grid { stroke: #d0d7de; stroke-width: .6 } .tick { font-size: 11px; fill: #57606a }
.title { font-size: 16px; font-weight: 600 }
.front { fill: none; stroke: #0969da; stroke-width: 1.6 } .limit { stroke: #cf222e; stroke-dasharray: 5 4 }
.limit-name { font-size: 11px; fill: #cf222e }
circle { fill: #fff; stroke: #57606a; stroke-width: 1.6 } .on-front { stroke: #0969da } .chosen { fill: #0969da }
"""


def picture(title: str, candidates: Sequence[Candidate], limits: Limits, chosen: Candidate | None) -> str:
    """The SVG's text. Loss is drawn on a logarithmic axis, since it spans three orders of magnitude."""
    ax = _Axes(candidates, limits)
    best_ones = front(candidates)
    line = " ".join(f"{ax.x(one.ram_mb):.1f},{ax.y(one.loss):.1f}" for one in best_ones)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="28">{escape(title)}</text>',
        *ax.drawn(),
        *_limits(ax, limits),
        f'<polyline class="front" points="{line}"/>',
    ]
    for one in candidates:
        names = ["on-front"] * (one in best_ones) + ["chosen"] * (one == chosen)
        x, y = ax.x(one.ram_mb), ax.y(one.loss)
        side = ("end", -9) if x > _WIDTH - 130 else ("start", 9)
        label = f"{one.type_name} (chosen)" if one == chosen else one.type_name
        parts += [
            f'<circle class="{" ".join(names)}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
            f'<text x="{x + side[1]:.1f}" y="{y - 8:.1f}" text-anchor="{side[0]}">{escape(label)}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def _limits(ax: _Axes, limits: Limits) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines: list[str] = []
    names: list[tuple[float, float, str]] = []
    if limits.ram_budget_mb is not None:
        x = ax.x(limits.ram_budget_mb)
        lines.append(f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"')
        names.append((x - 5, bottom - 8, "--ram-budget"))
    if limits.max_loss is not None:
        y = ax.y(limits.max_loss)
        lines.append(f'y1="{y:.1f}" y2="{y:.1f}" x1="{_LEFT}" x2="{right}"')
        names.append((right - 6, y - 5, "--max-loss"))
    return [
        *(f'<line class="limit" {line}/>' for line in lines),
        *(f'<text class="limit-name" x="{x:.1f}" y="{y:.1f}" text-anchor="end">{name}</text>' for x, y, name in names),
    ]


class _Axes:
    """Where a number lies in the picture, and the axes themselves."""

    def __init__(self, candidates: Sequence[Candidate], limits: Limits) -> None:
        sizes = [one.ram_mb for one in candidates]
        sizes += [limits.ram_budget_mb] if limits.ram_budget_mb is not None else []
        self._step = _round_step(max(max(sizes) - min(sizes), max(sizes) / 20) / 5)
        self._least = self._step * max(0, math.floor(min(sizes) / self._step - 0.2))
        self._most = self._step * math.ceil(max(sizes) / self._step + 0.2)
        losses = [one.loss for one in candidates] + [limits.max_loss or 0]
        above = [loss for loss in losses if loss > 0] or [1.0]
        self._low = math.floor(math.log10(min(above)))
        self._high = max(self._low + 1, math.ceil(math.log10(max(above))))

    def x(self, ram_mb: float) -> float:
        return _LEFT + (ram_mb - self._least) / (self._most - self._least) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, loss: float) -> float:
        at = math.log10(loss) if loss > 0 else self._low
        share = min(1.0, max(0.0, (at - self._low) / (self._high - self._low)))
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def drawn(self) -> list[str]:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        lines = []
        for n in range(round(self._least / self._step), round(self._most / self._step) + 1):
            x = self.x(n * self._step)
            lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
            label = f"{n * self._step:,g}"
            lines.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
        for power in range(self._low, self._high + 1):
            y = self.y(10.0**power)
            lines.append(f'<line class="grid" y1="{y:.1f}" y2="{y:.1f}" x1="{_LEFT}" x2="{right}"/>')
            lines.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        middle = (_TOP + bottom) / 2
        return [
            *lines,
            f'<polyline class="axis" fill="none" points="{_LEFT},{_TOP} {_LEFT},{bottom} {right},{bottom}"/>',
            f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 16}" text-anchor="middle">memory, MB</text>',
            f'<text transform="translate(20 {middle}) rotate(-90)" text-anchor="middle">{_LOSS}</text>',
        ]


def _round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, at least `about`."""
    power = 10.0 ** math.floor(math.log10(max(about, 1e-9)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about)

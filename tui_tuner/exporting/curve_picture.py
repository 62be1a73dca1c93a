"""A run's losses as a picture in SVG, for a model card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from tui_tuner.locales import _
from tui_tuner.verdicts.run_history import RunHistory

PICTURE = "loss.svg"
MOST_STEPS = 2000  # that are drawn
_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 28, 40
_TICKS = 4

Point = tuple[float, float]


def draw_losses(history: RunHistory) -> str:
    """Return an SVG of the losses in training and on held-out rows; empty without two points of either."""
    trained = [
        (float(step), loss)
        for step, loss in zip(history.steps, history.losses, strict=True)
        if math.isfinite(loss)
    ]
    measured = [(float(step), found.get("loss")) for step, found in sorted(history.evaluations.items())]
    held = [(step, loss) for step, loss in measured if loss is not None and math.isfinite(loss)]
    points = trained + held
    if len(trained) < 2 and len(held) < 2:
        return ""
    low, high = _find_range([loss for _step, loss in points])
    last = max(step for step, _loss in points) or 1.0

    def place(point: Point) -> Point:
        x = _LEFT + point[0] / last * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - min(point[1], high)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return x, y

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_draw_axes(low, high, last, place),
        _draw_line([place(one) for one in trained], "#9db7d5", 1.2),
        _draw_line([place(one) for one in held], "#b3471d", 2.0),
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#b3471d"/>' for x, y in map(place, held)),
        _draw_text(_LEFT, 18, _("training loss"), "#47729f"),
        _draw_text(_LEFT + 130, 18, _("loss on held-out rows"), "#b3471d"),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _find_range(losses: Sequence[float]) -> tuple[float, float]:
    # The first steps may be so high that nothing else could be seen
    ordered = sorted(losses)
    high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    low = ordered[0]
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _draw_axes(low: float, high: float, last: float, place: object) -> list[str]:
    assert callable(place)
    bottom = _HEIGHT - _BOTTOM
    lines = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}" fill="none" stroke="#555555"/>']
    for tick in range(_TICKS + 1):
        loss = low + (high - low) * tick / _TICKS
        _x, y = place((0.0, loss))
        lines.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>')
        lines.append(_draw_text(_LEFT - 6, y + 4, f"{loss:.3g}", "#333333", "end"))
        x, _y = place((last * tick / _TICKS, low))
        lines.append(_draw_text(x, bottom + 16, f"{last * tick / _TICKS:,.0f}", "#333333", "middle"))
    lines.append(_draw_text((_WIDTH + _LEFT) / 2, _HEIGHT - 6, _("step"), "#333333", "middle"))
    return lines


def _draw_line(points: Sequence[Point], colour: str, width: float) -> str:
    if len(points) < 2:
        return ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _draw_text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'

"""From results to lines of a table, and how much time is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

GIB = 1024**3
HEADER = [
    "case",
    "who",
    "tokens/s",
    "MFU",
    "busy",
    "launches",
    "counted",
    "peak GiB",
    "predicted",
    "first step s",
]


class Budget:
    """Seconds of the whole call.

    Args:
        clock: Seconds that grow.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - self._clock())

    def limit(self, limit: float, least: float) -> float:
        """Seconds that a stage may take; 0 where too few are left to begin it."""
        return min(limit, self.left) if self.left >= least else 0.0


def utilisation(tokens_a_second: float, flops_a_token: float, tflops: float) -> float | None:
    """Model FLOPs per second as a share of the card's; None where its speed is not known."""
    return tokens_a_second * flops_a_token / (tflops * 1e12) if tflops else None


def lines(results: Sequence[dict[str, Any]], tflops: float) -> list[list[str]]:
    """A line for each result, those of one case together and the fastest first."""
    order = list(dict.fromkeys(one["case"] for one in results))
    ordered = sorted(results, key=lambda one: (order.index(one["case"]), -(one.get("tokens_a_second") or 0)))
    return [_line(one, tflops) for one in ordered]


def _line(one: dict[str, Any], tflops: float) -> list[str]:
    speed, per_token = one.get("tokens_a_second"), one.get("flops_a_token")
    if not speed:
        return [one["case"], one["who"], one.get("problem", "no result"), *[""] * (len(HEADER) - 3)]
    used = utilisation(speed, per_token, tflops) if per_token else None
    busy = one.get("busy_seconds_a_token")
    return [
        one["case"],
        one["who"],
        f"{speed:,.0f}",
        "" if used is None else f"{used:.1%}",
        "" if busy is None else f"{min(1.0, busy * speed):.0%}",
        *(_count(one.get(name)) for name in ("launches", "counted_launches")),
        *(_gib(one.get(name)) for name in ("peak_bytes", "predicted_bytes")),
        "" if one.get("first_step") is None else f"{one['first_step']:.1f}",
    ]


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _gib(value: float | None) -> str:
    return "" if not value else f"{value / GIB:.2f}"


def ratios(results: Sequence[dict[str, Any]]) -> list[str]:
    """Ours beside the fastest peer of each case, and the live pane beside headless."""
    said = []
    for case in dict.fromkeys(one["case"] for one in results):
        speeds = {
            one["who"]: one["tokens_a_second"]
            for one in results
            if one["case"] == case and one.get("tokens_a_second")
        }
        ours = speeds.pop("ours", None)
        live = speeds.pop("ours, live pane", None)
        if ours and live:
            said.append(f"{case}: under the live pane / headless {live / ours:.2f}")
        if ours and speeds:
            best = max(speeds, key=lambda who: speeds[who])
            said.append(f"{case}: ours / {best} {ours / speeds[best]:.2f}")
    return said


def wrong_declarations(results: Sequence[dict[str, Any]]) -> list[str]:
    """Operations of our own that launched another number of kernels than they declare."""
    said = {}
    for one in results:
        for name, seen in (one.get("operations") or {}).items():
            declared = one["declared"].get(name, 1)
            if abs(seen - declared) > 0.01:
                said[name] = f"{name} declares {declared} launches and made {seen:.2f}"
    return list(said.values())

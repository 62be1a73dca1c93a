"""What this process found out about its kernels for attention on GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from tui_tuner.compute.attention.choice import NAMES, Kernel, Means, Need, choose, explain
from tui_tuner.compute.attention.means import means_on
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.locales import _
from tui_tuner.models.device import Device, find_device
from tui_tuner.text import one_line


@dataclass
class State:
    """What this process found out about its kernels.

    Args:
        chosen: The kernel for each need on each device, and what a trial of several found.
        broken: Kernels that failed, for a need or (None) for all, and why.
        proved: Kernels that were right for a need.
        notices: Warnings that nobody has taken yet.
    """

    chosen: dict[tuple[str, Need], tuple[Kernel, str]] = field(default_factory=dict)
    broken: dict[tuple[Kernel, Need | None], str] = field(default_factory=dict)
    proved: set[tuple[str, Kernel, Need]] = field(default_factory=set)
    notices: list[str] = field(default_factory=list)

    def fail(self, kernel: Kernel, problem: str, need: Need | None = None) -> None:
        """Take a kernel out in this process, and have that said once."""
        known = {one for one, _need in self.broken}
        self.broken[kernel, need] = problem
        self.chosen.clear()
        if kernel not in known:
            self.notices.append(
                _(
                    "{kernel} is not used for attention: {problem}.",
                    kernel=NAMES[kernel],
                    problem=one_line(problem, 200),
                )
            )

    def broken_for(self, need: Need) -> set[Kernel]:
        """The kernels that are out for a need."""
        return {kernel for kernel, known in self.broken if known in (None, need)}


STATE = State()


def take_notices() -> list[str]:
    """Warnings about kernels since the last call."""
    found, STATE.notices = STATE.notices, []
    return found


def kernels_in_use() -> list[Chosen]:
    """The kernels that this process computes attention with on GPUs, in words."""
    found = []
    for (place, need), (kernel, measured) in STATE.chosen.items():
        there = means_at(place)
        _kernel, passed = choose(need, device_at(place), there, STATE.broken_for(need))
        before = [verdict for verdict in passed if verdict.kernel is not kernel]
        one = explain(kernel, before, _repeats(kernel, need, there), measured)
        if one not in found:
            found.append(one)
    return found


def explain_times(times: dict[Kernel, float]) -> str:
    """What a trial of several kernels found, in words."""
    said = ", ".join(f"{NAMES[kernel]} {time:.2f} ms" for kernel, time in times.items())
    return _("measured here: {times}", times=said)


@cache
def device_at(place: str) -> Device:
    """The device that torch calls so."""
    return find_device(place)


@cache
def means_at(place: str) -> Means:
    """What there is to compute attention with on it; a package that cannot be loaded is told of."""

    def fail(kernel: Kernel, error: Exception) -> None:
        STATE.fail(kernel, f"{type(error).__name__}: {error}")

    return means_on(device_at(place), fail)


def _repeats(kernel: Kernel, need: Need, means: Means) -> bool:
    return kernel is Kernel.VARLEN and need.heads != need.key_heads and "enable_gqa" not in means.varlen

"""What this process found out about its kernels for attention on GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from tui_tuner.compute.attention.choice import NAMES, Kernel, Means, Need, choose, describe_attention, explain
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
        broken: Kernels that failed, for a need or (None) for all.
        proved: Kernels that were right for a need.
        repeats: Whether a need's keys are repeated for a kernel that does not say that it knows groups.
        notices: Warnings that nobody has taken yet.
        hub: The run asks for kernels of the hub.
    """

    chosen: dict[tuple[str, Need], tuple[Kernel, str]] = field(default_factory=dict)
    broken: set[tuple[Kernel, Need | None]] = field(default_factory=set)
    proved: set[tuple[str, Kernel, Need]] = field(default_factory=set)
    repeats: dict[tuple[str, Need], bool] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    hub: bool = False

    def fail(self, kernel: Kernel, problem: str, need: Need | None = None) -> None:
        """Take a kernel out in this process, for a need or for all, and have that said once."""
        known = {one for one, _need in self.broken}
        self.broken.add((kernel, need))
        self.chosen = {
            (place, other): found
            for (place, other), found in self.chosen.items()
            if found[0] is not kernel or need not in (None, other)
        }
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


def ask_the_hub(wanted: bool) -> None:
    """Whether kernels of the hub are tried from now on."""
    if STATE.hub != wanted:
        STATE.hub = wanted
        STATE.chosen.clear()


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
        repeats = kernel is Kernel.VARLEN and STATE.repeats.get((place, need), False)
        one = explain(kernel, before, repeats, measured)
        if one not in found:
            found.append(one)
    return found


def describe_on(device: Device) -> Chosen:
    """Which kernel most of today's models would get on a device, and why not a faster one. Tries nothing."""
    return describe_attention(device, means_on(device, lambda kernel, error: None))


def explain_times(times: dict[Kernel, float]) -> str:
    """What a trial of several kernels found, in words."""
    said = ", ".join(f"{NAMES[kernel]} {time:.2f} ms" for kernel, time in times.items())
    return _("measured here: {times}", times=said)


@cache
def device_at(place: str) -> Device:
    """The device that torch calls so."""
    return find_device(place)


def means_at(place: str) -> Means:
    """What there is to compute attention with on it; a package that cannot be loaded is told of."""
    return _means_at(place, STATE.hub)


@cache
def _means_at(place: str, hub: bool) -> Means:

    def fail(kernel: Kernel, error: Exception) -> None:
        STATE.fail(kernel, f"{type(error).__name__}: {error}")

    return means_on(device_at(place), fail, hub)

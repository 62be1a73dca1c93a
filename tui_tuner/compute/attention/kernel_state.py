"""What this process found out about its kernels for attention on GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from tui_tuner.compute.attention.kernel_choice import (
    NAMES,
    AttentionNeed,
    Kernel,
    KernelMeans,
    choose_kernel,
    describe_attention,
    explain_choice,
)
from tui_tuner.compute.attention.means import find_means
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.locales import _
from tui_tuner.models.device import Device, find_device
from tui_tuner.text import one_line


@dataclass
class KernelState:
    """What this process found out about its kernels.

    Args:
        chosen: The kernel for each need on each device, and what a trial of several found.
        broken: Kernels that failed, for a need or (None) for all.
        proved: Kernels that were right for a need.
        repeats: Whether a need's keys are repeated for a kernel that does not say that it knows groups.
        notices: Warnings that nobody has taken yet.
        hub: The run asks for kernels of the hub.
    """

    chosen: dict[tuple[str, AttentionNeed], tuple[Kernel, str]] = field(default_factory=dict)
    broken: set[tuple[Kernel, AttentionNeed | None]] = field(default_factory=set)
    proved: set[tuple[str, Kernel, AttentionNeed]] = field(default_factory=set)
    repeats: dict[tuple[str, AttentionNeed], bool] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    hub: bool = False

    def exclude_kernel(self, kernel: Kernel, problem: str, need: AttentionNeed | None = None) -> None:
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

    def list_broken(self, need: AttentionNeed) -> set[Kernel]:
        """The kernels that are out for a need."""
        return {kernel for kernel, known in self.broken if known in (None, need)}


STATE = KernelState()


def allow_hub_kernels(wanted: bool) -> None:
    """Return whether kernels of the hub are tried from now on."""
    if STATE.hub != wanted:
        STATE.hub = wanted
        STATE.chosen.clear()


def take_notices() -> list[str]:
    """Warnings about kernels since the last call."""
    found, STATE.notices = STATE.notices, []
    return found


def list_used_kernels() -> list[ChosenKernel]:
    """The kernels that this process computes attention with on GPUs, in words."""
    found = []
    for (place, need), (kernel, measured) in STATE.chosen.items():
        there = means_at(place)
        _kernel, passed = choose_kernel(need, device_at(place), there, STATE.list_broken(need))
        before = [verdict for verdict in passed if verdict.kernel is not kernel]
        repeats = kernel is Kernel.VARLEN and STATE.repeats.get((place, need), False)
        one = explain_choice(kernel, before, repeats, measured)
        if one not in found:
            found.append(one)
    return found


def describe_device_attention(device: Device) -> ChosenKernel:
    """Say which kernel most of today's models would get on a device, and why not a faster one, without a
    trial.
    """
    return describe_attention(device, find_means(device, lambda kernel, error: None))


def explain_times(times: dict[Kernel, float]) -> str:
    """Explain in words what a trial of several kernels found."""
    said = ", ".join(f"{NAMES[kernel]} {time:.2f} ms" for kernel, time in times.items())
    return _("measured here: {times}", times=said)


@cache
def device_at(place: str) -> Device:
    """The device that torch calls so."""
    return find_device(place)


def means_at(place: str) -> KernelMeans:
    """Return the kernels that a device has for attention, with a warning of any package that cannot be
    loaded.
    """
    return _means_at(place, STATE.hub)


@cache
def _means_at(place: str, hub: bool) -> KernelMeans:

    def fail(kernel: Kernel, error: Exception) -> None:
        STATE.exclude_kernel(kernel, f"{type(error).__name__}: {error}")

    return find_means(device_at(place), fail, hub)

"""Findings of this process about its attention kernels on GPUs: which were chosen, and which failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from tui_tuner.compute.attention.kernel_choice import (
    NAMES,
    AttentionNeed,
    Kernel,
    KernelMeans,
    choose_kernel,
    describe_kernel_choice,
    explain_choice,
)
from tui_tuner.compute.attention.means import find_attention_means
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.locales import _
from tui_tuner.models.device import Device, find_device
from tui_tuner.text import one_line


@dataclass
class KernelState:
    """Findings about kernels, kept for the life of the process.

    Args:
        chosen: The kernel for each need on each device, and the result of timing several.
        broken: Kernels that failed, for a need or (None) for all.
        proved: Kernels that were exact for a need.
        repeats: Whether keys are repeated for a kernel without a parameter for grouped heads, by need.
        notices: Warnings that were not collected yet.
        hub: Whether the run asks for kernels from the hub.
    """

    chosen: dict[tuple[str, AttentionNeed], tuple[Kernel, str]] = field(default_factory=dict)
    broken: set[tuple[Kernel, AttentionNeed | None]] = field(default_factory=set)
    proved: set[tuple[str, Kernel, AttentionNeed]] = field(default_factory=set)
    repeats: dict[tuple[str, AttentionNeed], bool] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    hub: bool = False

    def exclude_kernel(self, kernel: Kernel, problem: str, need: AttentionNeed | None = None) -> None:
        """Stop using a kernel in this process, for a need or for all, and warn about it once."""
        known = {one for one, _need in self.broken}
        self.broken.add((kernel, need))
        # Forget choices that this affects, so the next call of a layer chooses again.
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
        """Return the kernels that are excluded for a need."""
        return {kernel for kernel, known in self.broken if known in (None, need)}


STATE = KernelState()


def allow_hub_kernels(wanted: bool) -> None:
    """Set whether kernels from the hub may be used, and choose kernels again if that changes."""
    if STATE.hub != wanted:
        STATE.hub = wanted
        STATE.chosen.clear()


def take_kernel_warnings() -> list[str]:
    """Return the warnings about kernels since the last call."""
    found, STATE.notices = STATE.notices, []
    return found


def list_used_kernels() -> list[ChosenKernel]:
    """Describe the kernels that this process used for attention on GPUs."""
    found = []
    for (place, need), (kernel, measured) in STATE.chosen.items():
        there = find_kernel_means(place)
        _kernel, passed = choose_kernel(need, find_kernel_device(place), there, STATE.list_broken(need))
        before = [verdict for verdict in passed if verdict.kernel is not kernel]
        repeats = kernel is Kernel.VARLEN and STATE.repeats.get((place, need), False)
        one = explain_choice(kernel, before, repeats, measured)
        if one not in found:
            found.append(one)
    return found


def describe_device_attention(device: Device) -> ChosenKernel:
    """Describe which kernel most current models would get on a device, without testing any."""
    return describe_kernel_choice(device, find_attention_means(device, lambda kernel, error: None))


def format_kernel_times(times: dict[Kernel, float]) -> str:
    """Format the times of several kernels."""
    said = ", ".join(f"{NAMES[kernel]} {time:.2f} ms" for kernel, time in times.items())
    return _("measured here: {times}", times=said)


@cache
def find_kernel_device(place: str) -> Device:
    """Find a device by its torch name; kept, because every layer asks."""
    return find_device(place)


def find_kernel_means(place: str) -> KernelMeans:
    """Find the attention functions for a device, with a warning for packages that cannot be loaded."""
    return _means_at(place, STATE.hub)


@cache
def _means_at(place: str, hub: bool) -> KernelMeans:

    def fail(kernel: Kernel, error: Exception) -> None:
        STATE.exclude_kernel(kernel, f"{type(error).__name__}: {error}")

    return find_attention_means(find_kernel_device(place), fail, hub)

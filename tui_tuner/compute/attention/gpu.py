"""Attention over the sequences of a flat row on a GPU, by the first kernel that fits, works and is exact.

Before a run depends on a kernel, both of its passes are tested once on small synthetic sequences. A kernel
that fails or is not exact causes a warning, and the next one in order takes its place.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from tui_tuner.compute.attention import means
from tui_tuner.compute.attention.efficient import attend_efficient
from tui_tuner.compute.attention.flex import attend_flex
from tui_tuner.compute.attention.kernel_choice import RIVALS, AttentionNeed, Kernel, list_fitting_kernels
from tui_tuner.compute.attention.kernel_state import (
    STATE,
    find_kernel_device,
    find_kernel_means,
    format_kernel_times,
)
from tui_tuner.compute.attention.padded_attention import attend_padded, attend_padded_plainly
from tui_tuner.compute.attention.spans import AttentionAsk, Spans
from tui_tuner.compute.attention.trial import (
    Attend,
    pick_fastest_kernel,
    prove_attention,
    run_kernel_apart,
    time_kernels,
)
from tui_tuner.compute.attention.varlen import attend_flash, attend_varlen, find_torch_varlen
from tui_tuner.models.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

_ATTEND: dict[Kernel, Attend] = {
    Kernel.EFFICIENT: attend_efficient,
    Kernel.FLEX: attend_flex,
    Kernel.PADDED: attend_padded,
    Kernel.SCORES: attend_padded_plainly,
}


@torch.compiler.disable
def attend_on_gpu(query: Tensor, key: Tensor, value: Tensor, spans: Spans, ask: AttentionAsk) -> Tensor:
    """Compute attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim]."""
    place = str(query.device)
    need = describe_attention_need(query, key, value, spans, ask)
    while True:
        kernel = _find_kernel(place, need, query, key, value, spans, ask)
        try:
            return find_attention_function(kernel, place, need)(query, key, value, spans, ask)
        except Exception as error:
            if kernel is Kernel.SCORES or not _is_its_fault(error):
                raise
            # The loop ends: each turn excludes a kernel, and errors of the last one (SCORES) are raised.
            STATE.exclude_kernel(kernel, f"{type(error).__name__}: {error}", need)


def _is_its_fault(error: Exception) -> bool:
    """Return whether an error is a fault of the kernel itself."""
    # Memory may run out in any kernel. Recomputing a checkpointed layer raises an error to stop as soon as it
    # has what it needs, and our own exceptions stop a run; both pass through a kernel that works.
    if is_out_of_memory(error):
        return False
    return not type(error).__module__.startswith(("torch.utils.checkpoint", "tui_tuner."))


def describe_attention_need(
    query: Tensor, key: Tensor, value: Tensor, spans: Spans, ask: AttentionAsk
) -> AttentionNeed:
    """Describe what a call needs, without its tensors."""
    return AttentionNeed.from_tensors(
        query,
        key,
        value,
        dropout=bool(ask.dropout),
        window=ask.window is not None,
        cap=bool(ask.softcap),
        sinks=ask.sinks is not None,
        causal=ask.causal,
        shared=spans.places is not None,
    )


def find_attention_function(kernel: Kernel, place: str, need: AttentionNeed) -> Attend:
    """Return the function that computes attention with a kernel, bound to what the device offers."""
    device = find_kernel_device(place)
    if kernel is Kernel.VARLEN:
        return _bind_varlen(device.capability, STATE.repeats.get((place, need), True))
    if kernel in (Kernel.FLASH, Kernel.HUB):
        flash = (
            means.load_flash_function(device) if kernel is Kernel.FLASH else means.load_hub_function(device)
        )
        return partial(attend_flash, call=flash, capability=device.capability)
    return _ATTEND[kernel]


def _bind_varlen(capability: tuple[int, int], repeat: bool) -> Attend:
    call, takes = find_torch_varlen()
    assert call is not None
    return partial(attend_varlen, call=call, takes=takes, capability=capability, repeat=repeat)


def _find_kernel(
    place: str,
    need: AttentionNeed,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Spans,
    ask: AttentionAsk,
) -> Kernel:
    """Return the kernel for a need; at its first use, candidates are tested and several are timed."""
    name = (place, need)
    if name not in STATE.chosen:
        kernels = _find_proved_kernels(place, need, ask)
        times: dict[Kernel, float] = {}
        if len(kernels) > 1:
            rivals = {kernel: find_attention_function(kernel, place, need) for kernel in kernels}
            try:
                times = run_kernel_apart(lambda: time_kernels(rivals, query, key, value, spans, ask), place)
            except Exception as error:
                # Any other failed trial says nothing about the kernels: the first in order is used.
                if is_out_of_memory(error):
                    raise
        STATE.chosen[name] = (
            (pick_fastest_kernel(times, kernels), format_kernel_times(times)) if times else (kernels[0], "")
        )
    return STATE.chosen[name][0]


def _find_proved_kernels(place: str, need: AttentionNeed, ask: AttentionAsk) -> list[Kernel]:
    """Return the first kernel that is exact; several if only timing shows which is fastest."""
    found: list[Kernel] = []
    repeatable = torch.are_deterministic_algorithms_enabled()
    for kernel in list_fitting_kernels(
        need, find_kernel_device(place), find_kernel_means(place), STATE.list_broken(need)
    ):
        if found and kernel not in RIVALS:
            break
        # These sum gradients in any order, and which kernel wins a timing differs from run to run.
        if repeatable and kernel in (Kernel.FLASH, Kernel.HUB):
            continue
        if _prove_kernel(kernel, place, need, ask):
            found.append(kernel)
    return found or [Kernel.SCORES]


def _prove_kernel(kernel: Kernel, place: str, need: AttentionNeed, ask: AttentionAsk) -> bool:
    """Return whether a kernel is exact on synthetic sequences; tested once for each need."""
    name = (place, kernel, need)
    if kernel is not Kernel.SCORES and name not in STATE.proved:
        # Some versions support grouped heads without a parameter that says so: try without repeating first.
        if kernel is Kernel.VARLEN and need.heads != need.key_heads:
            STATE.repeats[place, need] = "enable_gqa" not in find_torch_varlen()[1] and bool(
                prove_attention(
                    _bind_varlen(find_kernel_device(place).capability, repeat=False), need, ask, place
                )
            )
        problem = prove_attention(find_attention_function(kernel, place, need), need, ask, place)
        if problem:
            STATE.exclude_kernel(kernel, problem, need)
            return False
        STATE.proved.add(name)
    return True

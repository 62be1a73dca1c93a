"""Attention over the sequences of a flat row on a GPU: by the first kernel that fits, works and is exact.

A kernel is tried once on small made-up sequences, both passes, before a run depends on it. One that fails or
is not exact costs a warning; the next in order takes its place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from tui_tuner.compute.attention import means
from tui_tuner.compute.attention.choice import RIVALS, Kernel, Need, fitting
from tui_tuner.compute.attention.efficient import attend_efficient
from tui_tuner.compute.attention.flex import attend_flex
from tui_tuner.compute.attention.padded import attend_clear, attend_padded
from tui_tuner.compute.attention.spans import Ask, Spans
from tui_tuner.compute.attention.state import STATE, device_at, explain_times, means_at
from tui_tuner.compute.attention.trial import Attend, apart, fastest, prove, time_kernels
from tui_tuner.compute.attention.varlen import attend_flash, attend_varlen, torch_varlen
from tui_tuner.models.out_of_memory import is_out_of_memory

_ATTEND: dict[Kernel, Attend] = {
    Kernel.EFFICIENT: attend_efficient,
    Kernel.FLEX: attend_flex,
    Kernel.PADDED: attend_padded,
    Kernel.SCORES: attend_clear,
}


@torch.compiler.disable
def attend_on_gpu(query: Any, key: Any, value: Any, spans: Spans, ask: Ask) -> Any:
    """Attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim]."""
    place = str(query.device)
    need = need_of(query, key, value, spans, ask)
    while True:
        kernel = _kernel_for(place, need, query, key, value, spans, ask)
        try:
            return attend_with(kernel, place, need)(query, key, value, spans, ask)
        except Exception as error:
            if kernel is Kernel.SCORES or not _is_its_fault(error):
                raise
            STATE.fail(kernel, f"{type(error).__name__}: {error}", need)


def _is_its_fault(error: Exception) -> bool:
    """Whether a kernel failed, and not what was around it.

    Memory may run out in any of them; the recomputation of a checkpointed layer ends by an error as soon as
    it has what it needs; and a run may be told to stop at any time.
    """
    if is_out_of_memory(error):
        return False
    return not type(error).__module__.startswith(("torch.utils.checkpoint", "tui_tuner."))


def need_of(query: Any, key: Any, value: Any, spans: Spans, ask: Ask) -> Need:
    """What a call needs, as facts."""
    return Need.of(
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


def attend_with(kernel: Kernel, place: str, need: Need) -> Attend:
    """The function of a kernel."""
    device = device_at(place)
    if kernel is Kernel.VARLEN:
        return _varlen(device.capability, STATE.repeats.get((place, need), True))
    if kernel in (Kernel.FLASH, Kernel.HUB):
        flash = means.flash_function(device) if kernel is Kernel.FLASH else means.hub_function(device)
        return partial(attend_flash, call=flash, capability=device.capability)
    return _ATTEND[kernel]


def _varlen(capability: tuple[int, int], repeat: bool) -> Attend:
    call, takes = torch_varlen()
    assert call is not None
    return partial(attend_varlen, call=call, takes=takes, capability=capability, repeat=repeat)


def _kernel_for(place: str, need: Need, query: Any, key: Any, value: Any, spans: Spans, ask: Ask) -> Kernel:
    """The kernel for a need, proved and, where there are several, measured at its first use."""
    name = (place, need)
    if name not in STATE.chosen:
        kernels = _candidates(place, need, ask)
        times: dict[Kernel, float] = {}
        if len(kernels) > 1:
            rivals = {kernel: attend_with(kernel, place, need) for kernel in kernels}
            try:
                times = apart(lambda: time_kernels(rivals, query, key, value, spans, ask), place)
            except Exception as error:
                if is_out_of_memory(error):
                    raise  # a trial that fails otherwise tells nothing: the first in order is taken
        STATE.chosen[name] = (fastest(times, kernels), explain_times(times)) if times else (kernels[0], "")
    return STATE.chosen[name][0]


def _candidates(place: str, need: Need, ask: Ask) -> list[Kernel]:
    """The first kernel that proves right; several only where nothing but a trial tells which is fastest."""
    found: list[Kernel] = []
    repeatable = torch.are_deterministic_algorithms_enabled()
    for kernel in fitting(need, device_at(place), means_at(place), STATE.broken_for(need)):
        if found and kernel not in RIVALS:
            break
        if repeatable and kernel in (Kernel.FLASH, Kernel.HUB):
            continue  # they sum gradients in any order, and a trial may end either way
        if _holds(kernel, place, need, ask):
            found.append(kernel)
    return found or [Kernel.SCORES]


def _holds(kernel: Kernel, place: str, need: Need, ask: Ask) -> bool:
    """Whether a kernel is right on made-up sequences."""
    name = (place, kernel, need)
    if kernel is not Kernel.SCORES and name not in STATE.proved:
        if kernel is Kernel.VARLEN and need.heads != need.key_heads:
            STATE.repeats[place, need] = "enable_gqa" not in torch_varlen()[1] and bool(
                prove(_varlen(device_at(place).capability, repeat=False), need, ask, place)
            )
        problem = prove(attend_with(kernel, place, need), need, ask, place)
        if problem:
            STATE.fail(kernel, problem, need)
            return False
        STATE.proved.add(name)
    return True

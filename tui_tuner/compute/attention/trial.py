"""Tests of kernels on small synthetic sequences, and timing of those that are exact."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.autograd.graph import saved_tensors_hooks

from tui_tuner.compute.attention.kernel_choice import HALF, AttentionNeed, Kernel
from tui_tuner.compute.attention.padded_attention import attend_padded_plainly
from tui_tuner.compute.attention.spans import AttentionAsk, Spans, Stretch
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

Attend = Callable[[Any, Any, Any, Spans, AttentionAsk], Any]
Found = TypeVar("Found")

LENGTHS = (37, 5, 66)  # tokens of the synthetic sequences; the first is the shared prefix if there is one
WINDOW = 24  # tokens of the synthetic window
# Allowed relative differences from float32 products: for float32, for TensorFloat-32, and for 16 bits.
FARTHEST, FARTHEST_TF32, FARTHEST_HALF = 1e-3, 1e-2, 4e-2
REPEATS = 3
CLEARLY = 0.97  # of the time of the first in order; a kernel must be below it to be preferred


def prove_attention(
    attend: Attend, need: AttentionNeed, ask: AttentionAsk, device: torch.device | str
) -> str:
    """Describe the fault of a kernel: an error, or a result or gradient that differs; empty without one.

    Raises:
        torch.OutOfMemoryError: there is not enough memory to test it.
    """
    try:
        return run_kernel_apart(lambda: _compare_passes(attend, need, ask, torch.device(device)), device)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"


def _compare_passes(attend: Attend, need: AttentionNeed, ask: AttentionAsk, device: torch.device) -> str:
    spans = make_trial_spans(need.shared, device)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, getattr(torch, need.dtype))

    shapes = (need.heads, need.head_dim), (need.key_heads, need.head_dim), (need.key_heads, need.value_dim)
    tensors = [random(1, heads, spans.token_count, numbers) for heads, numbers in shapes]
    towards = random(1, spans.token_count, need.heads, need.value_dim)
    sinks = random(need.heads).float() if need.sinks else None
    # Without dropout, whose random numbers differ between kernels.
    asked = replace(ask, dropout=0.0, window=WINDOW if need.window else None, sinks=sinks)
    right = _run_passes(
        attend_padded_plainly, [tensor.float() for tensor in tensors], towards.float(), spans, asked
    )
    found = _run_passes(attend, tensors, towards, spans, asked)
    most = _allow_difference(need.dtype)
    for one, other in zip(found, right, strict=True):
        apart_by = float((one.float() - other).norm() / other.norm())
        # Not `>`: a NaN must count as a difference.
        if not apart_by <= most:
            return _("a result on test sequences differs by {share:.2g}", share=apart_by)
    return ""


def _allow_difference(dtype: str) -> float:
    if dtype in HALF:
        return FARTHEST_HALF
    return FARTHEST if torch.get_float32_matmul_precision() == "highest" else FARTHEST_TF32


def _run_passes(
    attend: Attend, tensors: Sequence[Tensor], towards: Tensor, spans: Spans, ask: AttentionAsk
) -> list[Tensor]:
    """Return the result and its gradients."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    sinks = None if ask.sinks is None else ask.sinks.detach().requires_grad_()
    if sinks is not None:
        ask, leaves = replace(ask, sinks=sinks), [*leaves, sinks]
    out = attend(leaves[0], leaves[1], leaves[2], spans, ask)
    return [out.detach(), *torch.autograd.grad(out, leaves, towards)]


def make_trial_spans(shared: bool, device: torch.device) -> Spans:
    """Return a few synthetic sequences; if `shared`, the later ones also see the first."""
    starts = [0, *accumulate(LENGTHS)]
    stretches = [Stretch(start, length) for start, length in zip(starts[:-1], LENGTHS, strict=True)]
    places = None
    if shared:
        stretches[1:] = [one._replace(prefix=LENGTHS[0]) for one in stretches[1:]]
        parts = [[*range(one.prefix), *range(one.start, one.start + one.length)] for one in stretches]
        places = torch.tensor([place for part in parts for place in part], device=device)
    keys = [one.prefix + one.length for one in stretches]
    bounds = [
        torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        for lengths in (LENGTHS, keys)
    ]
    return Spans(stretches, bounds[0], bounds[1], max(LENGTHS), max(keys), places)


def time_kernels(
    kernels: Mapping[Kernel, Attend],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Spans,
    ask: AttentionAsk,
) -> dict[Kernel, float]:
    """Measure both passes of each kernel on a GPU with the tensors of a run, in milliseconds."""
    tensors = [tensor.detach() for tensor in (query, key, value)]
    towards = torch.ones_like(query[..., :1]).transpose(1, 2).expand(-1, -1, -1, value.shape[-1]).contiguous()
    ask = replace(ask, dropout=0.0, sinks=None if ask.sinks is None else ask.sinks.detach())
    found = {}
    for kernel, attend in kernels.items():
        # A first run that is not measured: it may compile and tune.
        _run_passes(attend, tensors, towards, spans, ask)
        begin, end = (torch.cuda.Event(enable_timing=True) for _unused in range(2))
        begin.record()
        for _unused in range(REPEATS):
            _run_passes(attend, tensors, towards, spans, ask)
        end.record()
        end.synchronize()
        found[kernel] = begin.elapsed_time(end) / REPEATS
    return found


def pick_fastest_kernel(times: Mapping[Kernel, float], order: Sequence[Kernel]) -> Kernel:
    """Return the first kernel in order, unless another took clearly less time."""
    best = min(order, key=lambda kernel: times[kernel])
    return best if times[best] < CLEARLY * times[order[0]] else order[0]


def run_kernel_apart(function: Callable[[], Found], device: torch.device | str) -> Found:
    """Run a function with gradients and outside of autocast and checkpointing; return its result."""
    device = torch.device(device)
    # A new thread has no autocast, and no hooks of checkpointing, which would count the tensors of a trial as
    # those of a layer. In a backward pass (a layer that is recomputed) the function runs in
    # this thread instead: autograd has one thread per GPU, and a second one would wait for it forever.
    if torch._C._current_graph_task_id() != -1:
        with (
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            saved_tensors_hooks(_return_unchanged, _return_unchanged),
        ):
            return function()
    found: list[Found] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
                found.append(function())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="attention trial")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _return_unchanged(tensor: Tensor) -> Tensor:
    return tensor

"""A kernel is proved on small made-up sequences; several that are right are measured against each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch.autograd.graph import saved_tensors_hooks

from tui_tuner.compute.attention.choice import HALF, Kernel, Need
from tui_tuner.compute.attention.padded import attend_clear
from tui_tuner.compute.attention.spans import Ask, Spans, Stretch
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import is_out_of_memory

Attend = Callable[[Any, Any, Any, Spans, Ask], Any]
Found = TypeVar("Found")

LENGTHS = (37, 5, 66)  # tokens of the made-up sequences; the first is what the others share, where they do
WINDOW = 24  # tokens, of a made-up window
# Relative differences from products in float32: with them, with TensorFloat-32, and in 16 bits
FARTHEST, FARTHEST_TF32, FARTHEST_HALF = 1e-3, 1e-2, 4e-2
REPEATS = 3
CLEARLY = 0.97  # of the time of the first in order: below, another kernel is faster


def prove(attend: Attend, need: Need, ask: Ask, device: Any) -> str:
    """What is wrong with a kernel: an error, or a result or a gradient that differs; empty if all is well.

    Raises:
        torch.OutOfMemoryError: there is no room to try it.
    """
    try:
        return apart(lambda: _compare(attend, need, ask, torch.device(device)), device)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"


def _compare(attend: Attend, need: Need, ask: Ask, device: Any) -> str:
    spans = made_up_spans(need.shared, device)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator).to(device, getattr(torch, need.dtype))

    shapes = (need.heads, need.head_dim), (need.key_heads, need.head_dim), (need.key_heads, need.value_dim)
    tensors = [random(1, heads, spans.tokens, numbers) for heads, numbers in shapes]
    towards = random(1, spans.tokens, need.heads, need.value_dim)
    sinks = random(need.heads).float() if need.sinks else None
    asked = replace(ask, dropout=0.0, window=WINDOW if need.window else None, sinks=sinks)
    right = _passes(attend_clear, [tensor.float() for tensor in tensors], towards.float(), spans, asked)
    found = _passes(attend, tensors, towards, spans, asked)
    most = _farthest(need.dtype)
    for one, other in zip(found, right, strict=True):
        apart_by = float((one.float() - other).norm() / other.norm())
        if not apart_by <= most:
            return _("a result on made-up sequences differs by {share:.2g}", share=apart_by)
    return ""


def _farthest(dtype: str) -> float:
    if dtype in HALF:
        return FARTHEST_HALF
    return FARTHEST if torch.get_float32_matmul_precision() == "highest" else FARTHEST_TF32


def _passes(attend: Attend, tensors: Sequence[Any], towards: Any, spans: Spans, ask: Ask) -> list[Any]:
    """The result and its gradients."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    sinks = None if ask.sinks is None else ask.sinks.detach().requires_grad_()
    if sinks is not None:
        ask, leaves = replace(ask, sinks=sinks), [*leaves, sinks]
    out = attend(leaves[0], leaves[1], leaves[2], spans, ask)
    return [out.detach(), *torch.autograd.grad(out, leaves, towards)]


def made_up_spans(shared: bool, device: Any) -> Spans:
    """A few sequences; where `shared`, the later ones also see the first."""
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
    kernels: Mapping[Kernel, Attend], query: Any, key: Any, value: Any, spans: Spans, ask: Ask
) -> dict[Kernel, float]:
    """Milliseconds of both passes of each kernel on a GPU, for the tensors of a run."""
    tensors = [tensor.detach() for tensor in (query, key, value)]
    towards = torch.ones_like(query[..., :1]).transpose(1, 2).expand(-1, -1, -1, value.shape[-1]).contiguous()
    ask = replace(ask, dropout=0.0, sinks=None if ask.sinks is None else ask.sinks.detach())
    found = {}
    for kernel, attend in kernels.items():
        _passes(attend, tensors, towards, spans, ask)
        begin, end = (torch.cuda.Event(enable_timing=True) for _unused in range(2))
        begin.record()
        for _unused in range(REPEATS):
            _passes(attend, tensors, towards, spans, ask)
        end.record()
        end.synchronize()
        found[kernel] = begin.elapsed_time(end) / REPEATS
    return found


def fastest(times: Mapping[Kernel, float], order: Sequence[Kernel]) -> Kernel:
    """The first in order, unless another took clearly less time."""
    best = min(order, key=lambda kernel: times[kernel])
    return best if times[best] < CLEARLY * times[order[0]] else order[0]


def apart(function: Callable[[], Found], device: Any) -> Found:
    """What a function returns in a thread of its own.

    There it has gradients, and neither autocast nor what keeps a layer's tensors for its recomputation, which
    would count those of a trial. Where a layer is computed again on the way back, it is called in this
    thread with the same: autograd has one thread for each GPU, which would wait for the other for ever.
    """
    device = torch.device(device)
    if torch._C._current_graph_task_id() != -1:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False), saved_tensors_hooks(_it, _it):
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


def _it(tensor: Any) -> Any:
    return tensor

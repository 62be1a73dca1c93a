"""Each kernel for sequences gives what attention over each sequence alone gives, gradients included.

Operators that only GPUs have are stood in for by plain computations with the same signatures, so that layout,
repetition, scale, windows and bounds are those that a GPU is called with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from tests.core.attention import references
from tui_tuner.compute.attention import attend_each_segment, attend_layout, find_attention_spans
from tui_tuner.compute.attention.efficient import attend_efficient, find_efficient_arguments
from tui_tuner.compute.attention.flex import attend_flex, find_key_blocks, find_key_ranges
from tui_tuner.compute.attention.padded_attention import (
    attend_padded,
    attend_padded_plainly,
    pad_length_to_power,
)
from tui_tuner.compute.attention.spans import AttentionAsk
from tui_tuner.compute.attention.varlen import attend_flash, attend_varlen
from tui_tuner.compute.shared_prefix import Layout, Segment

Attend = Callable[..., Any]
LENGTHS = [70, 3, 150, 1, 33]
LAYOUT = Layout(
    [Segment(0, 70), Segment(70, 3, 0, 70), Segment(73, 150, 0, 70), Segment(223, 1), Segment(224, 33, 0, 70)]
)
TOKENS = sum(LENGTHS)


def varlen(call: Callable[..., Any]) -> Attend:
    return partial(attend_varlen, call=call, takes=frozenset(inspect.signature(call).parameters))


FLASH = references.flash_attn_varlen_func
KERNELS: dict[str, Attend] = {
    "varlen 2.12": varlen(references.varlen_newest),
    "varlen 2.11": varlen(references.varlen_windows),
    "varlen 2.10": varlen(references.varlen_oldest),
    "flash": partial(attend_flash, call=FLASH),
    "efficient": partial(
        attend_efficient, forward=references.efficient_forward, backward=references.efficient_backward
    ),
    "flex": partial(attend_flex, call=references.flex),
    "padded": attend_padded,
    "clear": attend_padded_plainly,
}
# name: heads, key heads, numbers of a query's and of a value's head, and what is asked
CASES: dict[str, tuple[tuple[int, int, int, int], dict[str, Any]]] = {
    "plain": ((4, 4, 16, 16), {}),
    "grouped": ((6, 2, 32, 32), {"scaling": 0.3}),
    "odd heads": ((4, 2, 12, 12), {}),
    "values narrower": ((4, 4, 24, 16), {"scaling": 0.5}),
    "window": ((4, 2, 16, 16), {"window": 20}),
    "both ways": ((4, 4, 16, 16), {"causal": False}),
    "a window both ways": ((4, 2, 16, 16), {"causal": False, "window": 7}),
    "capped": ((4, 2, 16, 16), {"softcap": 1.5, "scaling": 0.4}),
    "capped window": ((4, 2, 8, 8), {"softcap": 1.5, "window": 20}),
    "sinks": ((4, 2, 16, 16), {"sinks": True}),
    "sinks in a window": ((4, 2, 16, 16), {"sinks": True, "window": 20}),
}
SPECIAL = ("flex", "clear")


def takes(kernel: str, case: str, shared: bool) -> bool:
    asked = CASES[case][1]
    if shared and not asked.get("causal", True):
        return False
    if ("softcap" in asked or "sinks" in asked) and kernel not in SPECIAL:
        return False
    if "window" in asked and kernel == "varlen 2.10":
        return False
    return not (kernel == "efficient" and "window" in asked and not asked.get("causal", True))


def case(name: str) -> tuple[list[torch.Tensor], AttentionAsk]:
    (heads, key_heads, head_dim, value_dim), asked = CASES[name]
    torch.manual_seed(0)
    shapes = (heads, head_dim), (key_heads, head_dim), (key_heads, value_dim)
    # as a model's projections leave them: token by token, seen by heads
    tensors = [torch.randn(1, TOKENS, *shape).transpose(1, 2) for shape in shapes]
    asked = dict(asked)
    if asked.pop("sinks", False):
        asked["sinks"] = torch.randn(heads)
    return tensors, AttentionAsk(**asked)


def both_passes(
    attend: Callable[..., Any], tensors: list[torch.Tensor], ask: AttentionAsk
) -> list[torch.Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    if ask.sinks is not None:
        leaves.append(ask.sinks.clone().requires_grad_())
        ask = replace(ask, sinks=leaves[-1])
    out = attend(*leaves[:3], ask)
    torch.manual_seed(1)
    return [out.detach(), *torch.autograd.grad(out, leaves, torch.randn(out.shape))]


@pytest.fixture(scope="module")
def truths() -> dict[Any, list[torch.Tensor]]:
    return {}


@pytest.mark.parametrize(
    ("kernel", "name", "shared"),
    [
        (kernel, name, shared)
        for kernel in KERNELS
        for name in CASES
        for shared in (False, True)
        if takes(kernel, name, shared)
    ],
)
def test_a_kernel_is_exact(kernel: str, name: str, shared: bool, truths: dict[Any, Any]) -> None:
    tensors, ask = case(name)
    spans = find_attention_spans(LENGTHS, LAYOUT if shared else None, tensors[0].device)
    if (name, shared) not in truths:
        truths[name, shared] = both_passes(
            lambda q, k, v, asked: references.plain(q, k, v, spans, asked), tensors, ask
        )
    found = both_passes(lambda q, k, v, asked: KERNELS[kernel](q, k, v, spans, asked), tensors, ask)
    for one, other in zip(found, truths[name, shared], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    "name", [name for name, (_, asked) in CASES.items() if not {"softcap", "sinks"} & {*asked}]
)
def test_what_a_processor_computes_is_the_truth_too(name: str) -> None:
    """The kernels of GPUs and the processor's way are held against the same plain computation."""
    tensors, ask = case(name)
    device = tensors[0].device
    found = attend_each_segment(*tensors, LENGTHS, 0.0, ask.scaling, ask.window, ask.causal)
    torch.testing.assert_close(
        found,
        references.plain(*tensors, find_attention_spans(LENGTHS, None, device), ask),
        atol=2e-5,
        rtol=2e-5,
    )
    if ask.causal:
        found = attend_layout(*tensors, LAYOUT, 0.0, ask.scaling, ask.window)
        spans = find_attention_spans(LENGTHS, LAYOUT, device)
        torch.testing.assert_close(found, references.plain(*tensors, spans, ask), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ["capped window", "sinks", "grouped"])
def test_torchs_own_flex_attention_agrees(name: str) -> None:
    """Not compiled, and without gradients, which it has none of on a processor."""
    from torch.nn.attention.flex_attention import flex_attention

    tensors, ask = case(name)
    for layout in (None, LAYOUT):
        spans = find_attention_spans(LENGTHS, layout, tensors[0].device)
        with torch.no_grad():
            found = attend_flex(*tensors, spans, ask, flex_attention)
        torch.testing.assert_close(found, references.plain(*tensors, spans, ask), atol=2e-5, rtol=2e-5)


def test_the_operator_is_the_one_that_is_called() -> None:
    """What the stand-ins take is what this PyTorch's operators take, in their order."""
    for name in ("forward", "backward"):
        schema = getattr(torch.ops.aten, f"_efficient_attention_{name}").default._schema
        stand_in = inspect.signature(getattr(references, f"efficient_{name}")).parameters
        assert [argument.name for argument in schema.arguments] == list(stand_in)
    assert find_efficient_arguments() >= {
        "cu_seqlens_q",
        "cu_seqlens_k",
        "custom_mask_type",
        "scale",
        "window_size",
    }


def test_blocks_are_those_that_hold_a_key() -> None:
    torch.manual_seed(0)
    for layout in (None, LAYOUT):
        for window in (None, 20, 140):
            spans = find_attention_spans([*LENGTHS, 300], layout, torch.device("cpu"))
            reach = find_key_ranges(spans, AttentionAsk(window=window))
            sees = torch.zeros(reach.shape[1], reach.shape[1], dtype=torch.bool)
            for token, (begin, end, first, last) in enumerate(reach.T.tolist()):
                sees[token, begin:end] = True
                sees[token, first:last] = True
            counts, indices = find_key_blocks(reach)
            for block, (count, numbers) in enumerate(zip(counts, indices, strict=True)):
                rows = sees[block * 128 : (block + 1) * 128]
                held = [
                    number
                    for number in range(len(counts))
                    if rows[:, number * 128 : (number + 1) * 128].any()
                ]
                assert sorted(numbers[:count].tolist()) == held


def test_padded_lengths_are_few() -> None:
    assert len({pad_length_to_power(length) for length in range(1, 8193)}) == 8
    assert all(length <= pad_length_to_power(length) < max(65, 2 * length) for length in range(1, 8193))


def test_dropout_drops_the_share_it_is_asked_to() -> None:
    tensors, _ask = case("grouped")
    ones = torch.ones_like(tensors[2])
    spans = find_attention_spans(LENGTHS, None, ones.device)
    for attend in (attend_padded, attend_padded_plainly):
        out = attend(tensors[0], tensors[1], ones, spans, AttentionAsk(dropout=0.25))
        assert float(out.mean()) == pytest.approx(1, abs=0.05) and float(out.std()) > 0.01

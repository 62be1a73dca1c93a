"""Which kernel computes attention over the sequences of a flat row: the whole table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tui_tuner.compute.attention.kernel_choice import (
    HALF,
    NAMES,
    AttentionNeed,
    Kernel,
    KernelMeans,
    choose_kernel,
    describe_kernel_choice,
    find_flash_width,
    judge_kernels,
    list_fitting_kernels,
    replaces_attention,
)
from tui_tuner.compute.attention.kernel_state import describe_device_attention
from tui_tuner.models.device import Device

BASE = {"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k", "return_aux"}
VARLEN = {  # parameters of `varlen_attn` by the version of torch
    "2.9": frozenset[str](),
    "2.10": frozenset({*BASE, "is_causal"}),
    "2.11": frozenset({*BASE, "scale", "window_size"}),
    "2.12": frozenset(
        {*BASE, "scale", "window_size", "enable_gqa", "seqused_k", "block_table", "num_splits"}
    ),
}
EFFICIENT = frozenset(
    {"cu_seqlens_q", "cu_seqlens_k", "custom_mask_type", "scale", "window_size", "dropout_p"}
)
FLASH = frozenset({"cu_seqlens_q", "cu_seqlens_k", "causal", "dropout_p", "window_size", "softcap"})
FLASH_OLD = FLASH - {"softcap"}
CARDS = {
    "V100": (7, 0),
    "T4": (7, 5),
    "A100": (8, 0),
    "4090": (8, 9),
    "H100": (9, 0),
    "5090": (12, 0),
}


def gpu(card: str) -> Device:
    return Device("cuda", name=card, capability=CARDS[card])


def torch_of(version: str, **more: Any) -> KernelMeans:
    return KernelMeans(**{"varlen": VARLEN[version], "efficient": EFFICIENT, "triton": True, **more})


def everything() -> Iterator[tuple[AttentionNeed, Device, KernelMeans]]:
    dtypes = ("float32", *HALF, "float64")
    sizes = ((64, 64), (12, 12), (192, 128), (200, 200), (256, 256), (512, 512))
    flags = ("dropout", "window", "cap", "sinks", "causal", "shared")
    for dtype, (head, value), values in product(dtypes, sizes, product((False, True), repeat=len(flags))):
        need = AttentionNeed(dtype, head, value, 8, 2, **dict(zip(flags, values, strict=True)))
        if need.shared and not need.causal:
            continue
        for card, version, triton, packages in product(CARDS, VARLEN, (False, True), ((), ("flash",))):
            yield need, gpu(card), torch_of(version, triton=triton, **dict.fromkeys(packages, FLASH))


def test_each_need_has_exactly_one_kernel_and_none_costs_by_sequence() -> None:
    seen: Counter[Kernel] = Counter()
    for need, device, means in everything():
        kernel, passed = choose_kernel(need, device, means)
        seen[kernel] += 1
        assert kernel is not Kernel.EACH
        assert all(verdict.problem for verdict in passed)
        _check(kernel, need, device, means)
    assert set(seen) == set(Kernel) - {Kernel.EACH, Kernel.HUB}  # the hub's is a rival of the package's


def _check(kernel: Kernel, need: AttentionNeed, device: Device, means: KernelMeans) -> None:
    """What no kernel may be given."""
    if kernel in (Kernel.VARLEN, Kernel.FLASH):
        assert device.capability >= (8, 0) and need.dtype in HALF and not need.sinks
        assert max(need.head_dim, need.value_dim) <= 256
    if kernel is Kernel.VARLEN:
        assert means.varlen and not need.dropout and not need.cap
        assert not need.window or "window_size" in means.varlen
    if kernel in (Kernel.EFFICIENT, Kernel.PADDED):
        assert not need.cap and not need.sinks
    if kernel is Kernel.EFFICIENT:
        assert need.dtype in ("float32", "float16") or (need.dtype, device.is_ampere) == ("bfloat16", True)
        assert need.causal or not need.window
    if kernel is Kernel.FLEX:
        assert means.triton and (need.cap or need.sinks) and not need.dropout


USUAL = AttentionNeed("bfloat16", 128, 128, 32, 8)
WINDOW = replace(USUAL, window=True)
HALVES = replace(USUAL, dtype="float16")


@pytest.mark.parametrize(
    ("need", "card", "version", "kernel"),
    [
        (USUAL, "H100", "2.12", Kernel.VARLEN),
        (USUAL, "H100", "2.11", Kernel.VARLEN),
        (USUAL, "A100", "2.10", Kernel.VARLEN),
        (USUAL, "4090", "2.9", Kernel.EFFICIENT),
        (WINDOW, "H100", "2.11", Kernel.VARLEN),
        (WINDOW, "H100", "2.10", Kernel.EFFICIENT),
        (replace(WINDOW, causal=False), "H100", "2.10", Kernel.PADDED),
        (replace(USUAL, shared=True), "H100", "2.11", Kernel.VARLEN),
        (replace(USUAL, head_dim=192), "H100", "2.12", Kernel.VARLEN),
        (replace(USUAL, head_dim=320, value_dim=320), "H100", "2.12", Kernel.EFFICIENT),
        (replace(USUAL, dropout=True), "H100", "2.12", Kernel.EFFICIENT),
        (replace(USUAL, dtype="float32"), "H100", "2.12", Kernel.EFFICIENT),
        (HALVES, "T4", "2.12", Kernel.EFFICIENT),
        (replace(HALVES, dtype="float32", window=True), "V100", "2.12", Kernel.EFFICIENT),
        (USUAL, "T4", "2.12", Kernel.PADDED),
        (replace(USUAL, cap=True), "H100", "2.12", Kernel.FLEX),
        (replace(USUAL, sinks=True, window=True), "A100", "2.11", Kernel.FLEX),
        (replace(HALVES, cap=True), "T4", "2.12", Kernel.FLEX),
        (replace(HALVES, cap=True), "V100", "2.12", Kernel.SCORES),
        (replace(USUAL, cap=True, dropout=True), "H100", "2.12", Kernel.SCORES),
    ],
)
def test_what_is_taken_where(need: AttentionNeed, card: str, version: str, kernel: Kernel) -> None:
    assert choose_kernel(need, gpu(card), torch_of(version))[0] is kernel


def test_an_installed_package_is_a_rival_and_takes_what_torch_does_not() -> None:
    means = torch_of("2.11", flash=FLASH, hub=FLASH)
    first = [Kernel.VARLEN, Kernel.FLASH, Kernel.HUB]
    assert list(list_fitting_kernels(USUAL, gpu("H100"), means))[:3] == first
    assert choose_kernel(replace(USUAL, dropout=True), gpu("H100"), means)[0] is Kernel.FLASH
    assert choose_kernel(replace(USUAL, cap=True), gpu("H100"), means)[0] is Kernel.FLASH
    old = torch_of("2.11", flash=FLASH_OLD)
    kernel, passed = choose_kernel(replace(USUAL, cap=True), gpu("H100"), old)
    assert kernel is Kernel.FLEX
    assert "softcap" in {verdict.kernel: verdict.problem for verdict in passed}[Kernel.FLASH]


def test_a_broken_kernel_gives_way_to_the_next() -> None:
    means, order = torch_of("2.12"), []
    while not order or order[-1] is not Kernel.SCORES:
        order.append(choose_kernel(USUAL, gpu("H100"), means, order)[0])
    assert order == [Kernel.VARLEN, Kernel.EFFICIENT, Kernel.PADDED, Kernel.SCORES]
    assert choose_kernel(USUAL, gpu("H100"), means, [*Kernel])[0] is Kernel.SCORES


def test_a_processor_computes_each_sequence_alone() -> None:
    assert [verdict.kernel for verdict in judge_kernels(USUAL, Device("cpu"), torch_of("2.12"))] == [
        Kernel.EACH
    ]


@pytest.mark.parametrize(
    ("sizes", "card", "width"),
    [
        ((64, 64), "H100", 64),
        ((12, 12), "H100", 16),
        ((192, 128), "H100", 192),
        ((200, 200), "H100", 200),
        ((200, 200), "4090", 256),
        ((224, 224), "5090", 256),
        ((192, 192), "4090", 192),
        ((256, 256), "4090", 256),
    ],
)
def test_heads_are_filled_up_to_what_the_kernel_takes(sizes: tuple[int, int], card: str, width: int) -> None:
    assert find_flash_width(*sizes, CARDS[card]) == width


def test_whose_attention_keeps_sequences_apart() -> None:
    cpu, card = Device("cpu"), gpu("A100")
    assert all(
        replaces_attention(asked, device, False)
        for asked in ("auto", "sdpa", "hub")
        for device in (cpu, card)
    )
    assert not any(replaces_attention(asked, card, True) for asked in ("flash_attention_2", "flex_attention"))
    # a model that caps its scores has nothing but eager of its own
    assert replaces_attention("eager", card, True)
    assert not replaces_attention("eager", card, False) and not replaces_attention("eager", cpu, True)


def test_the_choice_in_words() -> None:
    taken = describe_kernel_choice(gpu("H100"), torch_of("2.11"))
    assert taken.part == "attention" and taken.kernel == NAMES[Kernel.VARLEN] and "enable_gqa" in taken.why
    assert not describe_kernel_choice(gpu("H100"), torch_of("2.12")).why
    older = describe_kernel_choice(gpu("T4"), torch_of("2.12"))
    assert older.kernel == NAMES[Kernel.EFFICIENT] and "Ampere" in older.why and "hub" not in older.why
    assert describe_kernel_choice(Device("cpu"), KernelMeans()).kernel == NAMES[Kernel.EACH]
    # with the packages of this machine, though it has no such card
    assert describe_device_attention(gpu("V100")).kernel == NAMES[Kernel.EFFICIENT]
    assert describe_device_attention(gpu("H100")).kernel in (NAMES[Kernel.VARLEN], NAMES[Kernel.EFFICIENT])

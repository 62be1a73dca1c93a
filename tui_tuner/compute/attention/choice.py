"""Which kernel computes attention over the sequences of a flat row: a pure function of facts, without torch.

On a GPU each of them takes all sequences of a row at once, or those of a like length at once, and none plans
or compiles anew for a length it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.locales import _
from tui_tuner.models.device import AMPERE, Device

HALF = ("bfloat16", "float16")
WIDEST_FLASH = 256  # numbers of a head
TURING, MAXWELL = (7, 5), (5, 0)
# GPUs on which flash attention has no backward pass for heads of 193 to 224 numbers, but for 256
NARROW_SHARED_MEMORY = ((8, 6), (8, 7), (8, 9), (12, 0), (12, 1))


class Kernel(StrEnum):
    """A way to compute attention. On a GPU the first that fits is taken, in this order."""

    VARLEN = "varlen"
    FLASH = "flash"
    HUB = "hub"
    EFFICIENT = "efficient"
    FLEX = "flex"
    PADDED = "padded"
    SCORES = "scores"
    EACH = "each"


NAMES = {
    Kernel.VARLEN: "torch varlen_attn",
    Kernel.FLASH: "flash-attn",
    Kernel.HUB: "flash-attn (hub)",
    Kernel.EFFICIENT: "torch memory-efficient attention",
    Kernel.FLEX: "torch flex_attention",
    Kernel.PADDED: "torch scaled_dot_product_attention, padded",
    Kernel.SCORES: "matrix products, padded",
    Kernel.EACH: "torch scaled_dot_product_attention",
}
RIVALS = (Kernel.VARLEN, Kernel.FLASH, Kernel.HUB)  # which is faster is only known by measuring


@dataclass(frozen=True)
class Need:
    """What a layer needs of attention.

    Args:
        dtype: Of queries, keys and values, as autocast leaves them.
        head_dim: Numbers of a query's and of a key's head.
        value_dim: Numbers of a value's head.
        dropout: Attention weights are dropped at random.
        window: Queries see the last few keys alone.
        cap: Scores are bent by a hyperbolic tangent.
        sinks: Each head has a score that takes weight from all keys.
        causal: Queries see nothing after them.
        shared: Sequences see a common beginning besides their own tokens.
    """

    dtype: str = "bfloat16"
    head_dim: int = 128
    value_dim: int = 128
    heads: int = 32
    key_heads: int = 8
    dropout: bool = False
    window: bool = False
    cap: bool = False
    sinks: bool = False
    causal: bool = True
    shared: bool = False

    @classmethod
    def of(cls, query: Any, key: Any, value: Any, **wants: bool) -> Need:
        """What tensors of [1, heads, tokens, head_dim] need; what else is wanted by the fields' names."""
        dtype = str(query.dtype).removeprefix("torch.")
        return cls(dtype, query.shape[-1], value.shape[-1], query.shape[1], key.shape[1], **wants)


@dataclass(frozen=True)
class Means:
    """What there is to compute attention with, apart from the device.

    Args:
        varlen: Parameters of torch's `varlen_attn`; empty where it has none.
        efficient: Arguments of torch's memory-efficient operator; empty where it has none.
        flash: Parameters of the package flash_attn's function for sequences; empty where it is not installed.
        hub: The same of a kernel of the hub, which is only looked for where the user asks for it.
        triton: There is something to compile kernels with.
    """

    varlen: frozenset[str] = frozenset()
    efficient: frozenset[str] = frozenset()
    flash: frozenset[str] = frozenset()
    hub: frozenset[str] = frozenset()
    triton: bool = False


@dataclass(frozen=True)
class Verdict:
    """A kernel, and why it cannot be taken; `problem` is empty where it can."""

    kernel: Kernel
    problem: str = ""


def judge(need: Need, device: Device, means: Means) -> list[Verdict]:
    """Every kernel in order, fastest first, with what is against it. One at least has nothing."""
    if device.kind != "cuda":
        return [Verdict(Kernel.EACH)]
    return [Verdict(kernel, problem(need, device, means)) for kernel, problem in _PROBLEMS.items()]


def choose(
    need: Need, device: Device, means: Means, broken: Collection[Kernel] = ()
) -> tuple[Kernel, list[Verdict]]:
    """The kernel for a need, and those before it in the order, with what is against each.

    Args:
        broken: Kernels that failed in this process.
    """
    passed: list[Verdict] = []
    for verdict in judge(need, device, means):
        if not verdict.problem and verdict.kernel not in broken:
            return verdict.kernel, passed
        passed.append(verdict if verdict.problem else Verdict(verdict.kernel, _("failed here")))
    return Kernel.SCORES, passed  # it is made of nothing that could be missing


def fitting(need: Need, device: Device, means: Means, broken: Collection[Kernel] = ()) -> Iterator[Kernel]:
    """All kernels that can be taken, fastest first."""
    for verdict in judge(need, device, means):
        if not verdict.problem and verdict.kernel not in broken:
            yield verdict.kernel


def describe_attention(device: Device, means: Means, need: Need | None = None) -> Chosen:
    """Which kernel computes attention on a device, and why not a faster one.

    Args:
        need: What a model needs; without one, what most of today's models do.
    """
    kernel, passed = choose(need or usual_need(device), device, means)
    return explain(kernel, passed, repeats=kernel is Kernel.VARLEN and "enable_gqa" not in means.varlen)


def explain(kernel: Kernel, passed: list[Verdict], repeats: bool = False, measured: str = "") -> Chosen:
    """A chosen kernel in words.

    Args:
        repeats: Keys and values are repeated for the query heads that share them.
        measured: What a trial of several kernels found; empty where there was none.
    """
    if kernel is Kernel.EACH:
        return Chosen("attention", NAMES[kernel], _("one call a sequence, which is quickest on a processor"))
    said = [
        _("{kernel}: {problem}", kernel=NAMES[verdict.kernel], problem=verdict.problem)
        for verdict in passed
        if verdict.kernel is not Kernel.HUB or verdict.problem != _not_asked()
    ]
    if repeats:
        said.insert(0, _("keys and values are repeated, as this PyTorch has no enable_gqa"))
    if measured:
        said.insert(0, measured)
    return Chosen("attention", NAMES[kernel], "; ".join(said))


def usual_need(device: Device) -> Need:
    """What most of today's models need on a device."""
    return Need(dtype="bfloat16" if device.bf16 else "float16" if device.kind == "cuda" else "float32")


def flash_width(head_dim: int, value_dim: int, capability: tuple[int, int]) -> int:
    """Numbers that each head of queries, keys and values is filled up to with zeros for flash attention."""
    width = -(-max(head_dim, value_dim) // 8) * 8
    if 192 < width <= 224 and capability in NARROW_SHARED_MEMORY:
        return WIDEST_FLASH
    return width


def replaces(asked: str, device: Device, special: bool) -> bool:
    """Whether the kernels here keep sequences of a flat row apart, and not the model's own attention.

    Args:
        asked: `model.attention`, settled.
        special: The model caps its scores or has sinks, so that it has none but `eager` of its own.
    """
    if asked in ("auto", "sdpa", "hub"):
        return True
    return asked == "eager" and special and device.kind == "cuda"


# What is against each kernel; empty where nothing is


def _not_asked() -> str:
    return _("not asked for (model.attention: hub)")


def _flash_limits(need: Need, device: Device) -> str:
    if not device.ampere:
        return _("needs a GPU of Ampere's generation or newer")
    if need.dtype not in HALF:
        return _("takes 16-bit numbers only")
    if flash_width(need.head_dim, need.value_dim, device.capability) > WIDEST_FLASH:
        return _("takes heads of at most {width} numbers", width=WIDEST_FLASH)
    if need.sinks:
        return _("knows no sinks")
    return ""


def _varlen(need: Need, device: Device, means: Means) -> str:
    if not means.varlen & {"window_size", "is_causal"}:
        return _("not in this PyTorch")
    if limits := _flash_limits(need, device):
        return limits
    if need.cap:
        return _("does not cap scores")
    if need.dropout:
        return _("has no dropout")
    if need.window and "window_size" not in means.varlen:
        return _("has no windows in this PyTorch")
    return ""


def _package(need: Need, device: Device, takes: frozenset[str], absent: str) -> str:
    if not takes >= {"cu_seqlens_q", "cu_seqlens_k", "causal"}:
        return absent
    if limits := _flash_limits(need, device):
        return limits
    narrow = device.capability in NARROW_SHARED_MEMORY and max(need.head_dim, need.value_dim) > 192
    if need.dropout and (need.cap or narrow):
        return _("has no dropout for such heads")
    for wanted, parameter in (
        (need.dropout, "dropout_p"),
        (need.window, "window_size"),
        (need.cap, "softcap"),
    ):
        if wanted and parameter not in takes:
            return _("its version has no {parameter}", parameter=parameter)
    return ""


def _flash(need: Need, device: Device, means: Means) -> str:
    return _package(need, device, means.flash, _("not installed"))


def _hub(need: Need, device: Device, means: Means) -> str:
    return _package(need, device, means.hub, _not_asked())


def _efficient(need: Need, device: Device, means: Means) -> str:
    if not means.efficient >= {"cu_seqlens_q", "cu_seqlens_k", "custom_mask_type", "scale"}:
        return _("not in this PyTorch")
    if device.capability < MAXWELL:
        return _("this GPU is too old")
    if need.cap:
        return _("does not cap scores")
    if need.sinks:
        return _("knows no sinks")
    if need.dtype not in ("float32", *HALF):
        return _("does not take {dtype}", dtype=need.dtype)
    if need.dtype == "bfloat16" and device.capability < AMPERE:
        return _("this GPU has no bfloat16")
    if need.window and not (need.causal and "window_size" in means.efficient):
        return _("has no windows of this kind")
    return ""


def _flex(need: Need, device: Device, means: Means) -> str:
    if not (need.cap or need.sinks):
        return _("made for capped scores and sinks")
    if not means.triton:
        return _("needs triton")
    if need.dropout:
        return _("has no dropout")
    if device.capability < TURING:
        return _("this GPU is too old")
    if need.dtype not in ("float32", *HALF):
        return _("does not take {dtype}", dtype=need.dtype)
    if need.dtype == "bfloat16" and device.capability < AMPERE:
        return _("this GPU has no bfloat16")
    return ""


def _padded(need: Need, device: Device, means: Means) -> str:
    if need.cap:
        return _("does not cap scores")
    return _("knows no sinks") if need.sinks else ""


def _nothing(need: Need, device: Device, means: Means) -> str:
    return ""


_PROBLEMS: dict[Kernel, Callable[[Need, Device, Means], str]] = {
    Kernel.VARLEN: _varlen,
    Kernel.FLASH: _flash,
    Kernel.HUB: _hub,
    Kernel.EFFICIENT: _efficient,
    Kernel.FLEX: _flex,
    Kernel.PADDED: _padded,
    Kernel.SCORES: _nothing,
}

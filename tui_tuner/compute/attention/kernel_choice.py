"""Choice of the attention kernel for the sequences of a flat row: pure functions of facts, without torch.

On a GPU each kernel takes all sequences of a row at once, or those of similar length at once, and none plans
or compiles again for a new length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.locales import _
from tui_tuner.models.device import AMPERE, Device

if TYPE_CHECKING:
    from torch import Tensor

HALF = ("bfloat16", "float16")
WIDEST_FLASH = 256  # elements of a head
TURING, MAXWELL = (7, 5), (5, 0)
# On these GPUs flash attention has no backward pass for heads of 193 to 224 elements, but has one for 256.
NARROW_SHARED_MEMORY = ((8, 6), (8, 7), (8, 9), (12, 0), (12, 1))


class Kernel(StrEnum):
    """An attention kernel. On a GPU the first one that fits is used, in this order."""

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
RIVALS = (Kernel.VARLEN, Kernel.FLASH, Kernel.HUB)  # only timing shows which one is faster


@dataclass(frozen=True)
class AttentionNeed:
    """The requirements of a layer on its attention kernel.

    Args:
        dtype: Of queries, keys and values, after autocast.
        head_dim: Elements of a query head and of a key head.
        value_dim: Elements of a value head.
        dropout: Attention weights are dropped at random.
        window: Queries see only the last few keys.
        cap: Scores are capped by a hyperbolic tangent.
        sinks: Each head has a score that takes weight from all keys.
        causal: Queries see nothing after them.
        shared: Sequences see a shared prefix in addition to their own tokens.
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
    def from_tensors(cls, query: Tensor, key: Tensor, value: Tensor, **wants: bool) -> AttentionNeed:
        """Read the needs from tensors [1, heads, tokens, head_dim]; `wants` gives the other fields."""
        dtype = str(query.dtype).removeprefix("torch.")
        return cls(dtype, query.shape[-1], value.shape[-1], query.shape[1], key.shape[1], **wants)


@dataclass(frozen=True)
class KernelMeans:
    """The attention functions that the installed packages offer.

    Args:
        varlen: Parameters of torch's `varlen_attn`; empty without it.
        efficient: Arguments of torch's memory-efficient operator; empty without it.
        flash: Parameters of the varlen function of the package flash_attn; empty if it is not installed.
        hub: The same for a kernel from the hub, which is only loaded if the user asks for it.
        triton: Whether kernels can be compiled.
    """

    varlen: frozenset[str] = frozenset()
    efficient: frozenset[str] = frozenset()
    flash: frozenset[str] = frozenset()
    hub: frozenset[str] = frozenset()
    triton: bool = False


@dataclass(frozen=True)
class KernelVerdict:
    """A kernel, and why it cannot be used; `problem` is empty if it can."""

    kernel: Kernel
    problem: str = ""


def judge_kernels(need: AttentionNeed, device: Device, means: KernelMeans) -> list[KernelVerdict]:
    """List all kernels, fastest first, with what prevents their use. At least one has no problem."""
    if device.kind != "cuda":
        return [KernelVerdict(Kernel.EACH)]
    return [KernelVerdict(kernel, problem(need, device, means)) for kernel, problem in _PROBLEMS.items()]


def choose_kernel(
    need: AttentionNeed, device: Device, means: KernelMeans, broken: Collection[Kernel] = ()
) -> tuple[Kernel, list[KernelVerdict]]:
    """Choose the kernel for a need; also return the faster ones, with what prevents the use of each.

    Args:
        broken: Kernels that failed in this process.
    """
    passed: list[KernelVerdict] = []
    for verdict in judge_kernels(need, device, means):
        if not verdict.problem and verdict.kernel not in broken:
            return verdict.kernel, passed
        passed.append(verdict if verdict.problem else KernelVerdict(verdict.kernel, _("failed here")))
    # Matrix products need nothing that could be missing, so they remain even if they are listed as broken.
    return Kernel.SCORES, passed


def list_fitting_kernels(
    need: AttentionNeed, device: Device, means: KernelMeans, broken: Collection[Kernel] = ()
) -> Iterator[Kernel]:
    """Yield all usable kernels, fastest first."""
    for verdict in judge_kernels(need, device, means):
        if not verdict.problem and verdict.kernel not in broken:
            yield verdict.kernel


def describe_kernel_choice(
    device: Device, means: KernelMeans, need: AttentionNeed | None = None
) -> ChosenKernel:
    """Describe which kernel computes attention on a device, and why a faster one does not.

    Args:
        need: The needs of a model; those of most current models if None.
    """
    kernel, passed = choose_kernel(need or assume_attention_need(device), device, means)
    return explain_choice(
        kernel, passed, repeats=kernel is Kernel.VARLEN and "enable_gqa" not in means.varlen
    )


def explain_choice(
    kernel: Kernel, passed: list[KernelVerdict], repeats: bool = False, measured: str = ""
) -> ChosenKernel:
    """Describe a chosen kernel for people.

    Args:
        repeats: Keys and values are repeated for the query heads that share them.
        measured: The result of timing several kernels; empty if none were timed.
    """
    if kernel is Kernel.EACH:
        return ChosenKernel("attention", NAMES[kernel], _("one call per sequence, the fastest way on a CPU"))
    # A hub kernel that the user did not ask for is no news, so it is not mentioned.
    said = [
        _("{kernel}: {problem}", kernel=NAMES[verdict.kernel], problem=verdict.problem)
        for verdict in passed
        if verdict.kernel is not Kernel.HUB or verdict.problem != _explain_not_asked()
    ]
    if repeats:
        said.insert(0, _("keys and values are repeated, because this PyTorch version has no enable_gqa"))
    if measured:
        said.insert(0, measured)
    return ChosenKernel("attention", NAMES[kernel], "; ".join(said))


def assume_attention_need(device: Device) -> AttentionNeed:
    """Return the needs of most current models on a device."""
    return AttentionNeed(
        dtype="bfloat16" if device.has_bf16 else "float16" if device.kind == "cuda" else "float32"
    )


def find_flash_width(head_dim: int, value_dim: int, capability: tuple[int, int]) -> int:
    """Return the width that all heads are padded to with zeros for flash attention, in elements."""
    width = -(-max(head_dim, value_dim) // 8) * 8
    if 192 < width <= 224 and capability in NARROW_SHARED_MEMORY:
        return WIDEST_FLASH
    return width


def replaces_attention(asked: str, device: Device, special: bool) -> bool:
    """Return whether our kernels replace the model's own attention for flat rows.

    Args:
        asked: The resolved `model.attention`.
        special: The model caps its scores or has sinks, so its only own attention is `eager`.
    """
    if asked in ("auto", "sdpa", "hub"):
        return True
    return asked == "eager" and special and device.kind == "cuda"


# Each function explains why its kernel cannot be used; empty if it can.


def _explain_not_asked() -> str:
    return _("not requested (model.attention: hub)")


def _flash_limits(need: AttentionNeed, device: Device) -> str:
    if not device.is_ampere:
        return _("needs an Ampere GPU or newer")
    if need.dtype not in HALF:
        return _("supports 16-bit floats only")
    if find_flash_width(need.head_dim, need.value_dim, device.capability) > WIDEST_FLASH:
        return _("supports head dimensions up to {width}", width=WIDEST_FLASH)
    if need.sinks:
        return _("does not support attention sinks")
    return ""


def _refuse_varlen(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    if not means.varlen & {"window_size", "is_causal"}:
        return _("not available in this PyTorch version")
    if limits := _flash_limits(need, device):
        return limits
    if need.cap:
        return _("does not support capped scores")
    if need.dropout:
        return _("does not support dropout")
    if need.window and "window_size" not in means.varlen:
        return _("does not support sliding windows in this PyTorch version")
    return ""


def _refuse_flash_package(need: AttentionNeed, device: Device, takes: frozenset[str], absent: str) -> str:
    if not takes >= {"cu_seqlens_q", "cu_seqlens_k", "causal"}:
        return absent
    if limits := _flash_limits(need, device):
        return limits
    # The backward pass with dropout needs more shared memory than these GPUs have for wide heads.
    narrow = device.capability in NARROW_SHARED_MEMORY and max(need.head_dim, need.value_dim) > 192
    if need.dropout and (need.cap or narrow):
        return _("does not support dropout for these heads")
    for wanted, parameter in (
        (need.dropout, "dropout_p"),
        (need.window, "window_size"),
        (need.cap, "softcap"),
    ):
        if wanted and parameter not in takes:
            return _("its version has no parameter {parameter}", parameter=parameter)
    return ""


def _refuse_flash(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    return _refuse_flash_package(need, device, means.flash, _("not installed"))


def _refuse_hub(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    return _refuse_flash_package(need, device, means.hub, _explain_not_asked())


def _refuse_efficient(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    if not means.efficient >= {"cu_seqlens_q", "cu_seqlens_k", "custom_mask_type", "scale"}:
        return _("not available in this PyTorch version")
    if device.capability < MAXWELL:
        return _("this GPU is too old")
    if need.cap:
        return _("does not support capped scores")
    if need.sinks:
        return _("does not support attention sinks")
    if need.dtype not in ("float32", *HALF):
        return _("does not support {dtype}", dtype=need.dtype)
    if need.dtype == "bfloat16" and device.capability < AMPERE:
        return _("this GPU does not support bfloat16")
    if need.window and not (need.causal and "window_size" in means.efficient):
        return _("does not support this kind of window")
    return ""


def _refuse_flex(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    if not (need.cap or need.sinks):
        return _("only used for capped scores and attention sinks")
    if not means.triton:
        return _("needs triton")
    if need.dropout:
        return _("does not support dropout")
    if device.capability < TURING:
        return _("this GPU is too old")
    if need.dtype not in ("float32", *HALF):
        return _("does not support {dtype}", dtype=need.dtype)
    if need.dtype == "bfloat16" and device.capability < AMPERE:
        return _("this GPU does not support bfloat16")
    return ""


def _refuse_padded(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    if need.cap:
        return _("does not support capped scores")
    return _("does not support attention sinks") if need.sinks else ""


def _refuse_nothing(need: AttentionNeed, device: Device, means: KernelMeans) -> str:
    return ""


_PROBLEMS: dict[Kernel, Callable[[AttentionNeed, Device, KernelMeans], str]] = {
    Kernel.VARLEN: _refuse_varlen,
    Kernel.FLASH: _refuse_flash,
    Kernel.HUB: _refuse_hub,
    Kernel.EFFICIENT: _refuse_efficient,
    Kernel.FLEX: _refuse_flex,
    Kernel.PADDED: _refuse_padded,
    Kernel.SCORES: _refuse_nothing,
}

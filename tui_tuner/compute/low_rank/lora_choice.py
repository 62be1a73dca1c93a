"""Choice of the LoRA layers that are computed by fast steps of our own; the others are left to peft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.low_rank.bases import DENSE, TRANSPOSED, find_base_weight_kind
from tui_tuner.compute.low_rank.joint import LoraGroup, LoraMember, multiplies_into_float32
from tui_tuner.compute.low_rank.joint_runner import JointRunner, find_sibling_layers, forward_group_alone
from tui_tuner.compute.low_rank.lora_probe import agrees_with_peft, choose_half_dtype
from tui_tuner.compute.low_rank.shadow import ShadowCopies
from tui_tuner.compute.low_rank.single import forward_single
from tui_tuner.locales import N_, _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

PART = "lora"
PEFT = "peft"
ONE = N_("one step for each layer")
JOINT = N_("one step for layers with the same input")


@dataclass(frozen=True)
class LoraFacts:
    """The properties that decide how a LoRA layer may be computed.

    Args:
        base: The kind of its frozen weight (`bases.find_base_weight_kind`); empty if it is not supported.
        adapters: The number of its adapters.
        variant: It is DoRA or another variant, or has a bias or special layers for A or B.
        dropout: The share of its input that is dropped in training.
        trained_base: Its base weight is trained too.
        hooked: Other code wraps its forward pass, such as hooks that move weights between devices.
        transposed: peft treats its weight as [inputs, outputs].
    """

    base: str = DENSE
    adapters: int = 1
    variant: bool = False
    dropout: float = 0.0
    trained_base: bool = False
    hooked: bool = False
    transposed: bool = False


def explain_left_layer(facts: LoraFacts, kind: str) -> str:
    """Explain why a layer is left to peft on a `cpu` or `cuda` device; empty if it need not be."""
    if facts.adapters != 1:
        return _("it has several adapters")
    if facts.variant:
        return _("its adapter is not plain LoRA")
    if facts.trained_base:
        return _("its own weight is trained too")
    if facts.transposed != (facts.base == TRANSPOSED) or not facts.base:
        return _("its kind of weight is not supported")
    if kind == "cpu" and (facts.base != DENSE or facts.transposed):
        return _("its weight is quantised or transposed, which is not supported on a CPU")
    if kind == "cpu" and facts.dropout:
        return _("it has dropout, which is not supported on a CPU")
    if kind != "cpu" and facts.hooked:
        return _("other code wraps its forward pass")
    return ""


def find_lora_facts(layer: torch.nn.Module) -> LoraFacts | None:
    """Return the facts of a module; None if it is not a LoRA layer of peft for a linear layer."""
    try:
        from peft.tuners.lora.layer import Embedding, LoraLayer
    except ImportError:
        return None
    if not isinstance(layer, LoraLayer) or isinstance(layer, Embedding):
        return None
    names = list(layer.active_adapters)
    adapters = len(set(layer.lora_A) | set(names))
    name = names[0] if names else ""
    if adapters != 1 or name not in layer.lora_A or name not in layer.lora_B:
        return LoraFacts(adapters=0 if adapters == 1 else adapters)
    base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
    if not isinstance(down, torch.nn.Module):
        return LoraFacts(base=find_base_weight_kind(base), variant=True)  # AdaLoRA's are no layers
    linear = type(down) is torch.nn.Linear is type(up) and type(layer).__name__ in _PLAIN
    return LoraFacts(
        base=find_base_weight_kind(base),
        variant=not linear or name in layer.lora_variant or bool(layer.lora_bias[name]),
        dropout=float(getattr(layer.lora_dropout[name], "p", 0.0)),
        trained_base=any(one.requires_grad for one in base.parameters()),
        hooked=any(map(_has_hooks, (base, down, up))) or _is_replaced(layer),
        transposed=bool(layer.fan_in_fan_out),
    )


_PLAIN = ("Linear", "Linear4bit", "Linear8bitLt")


def _has_hooks(module: torch.nn.Module) -> bool:
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module) or hasattr(module, "_hf_hook")


def _is_replaced(layer: torch.nn.Module) -> bool:
    """Return whether other code has replaced the forward pass of a layer."""
    return "forward" in vars(layer) and not _is_ours(vars(layer)["forward"])


def _is_ours(forward: Any) -> bool:
    inner = getattr(forward, "func", None)
    return (
        inner in (forward_single, forward_group_alone)
        or getattr(inner, "__func__", None) is JointRunner.forward_member
    )


def quicken_lora(model: torch.nn.Module, device: Device | None = None) -> list[ChosenKernel]:
    """Replace the forward pass of LoRA layers by a fast step if it is exact.

    Draws nothing from the global random state.

    Args:
        device: The device of the model; None to read it from each layer's weight.

    Returns:
        How many layers are computed in which way, and why peft computes the others.
    """
    left: Counter[str] = Counter()
    chosen: dict[str, list[LoraMember]] = {"cpu": [], "cuda": []}
    names: dict[int, str] = {}
    for name, layer in model.named_modules():
        facts = find_lora_facts(layer)
        if facts is None:
            continue
        kind = device.kind if device is not None else _find_device_kind(layer)
        if _is_ours(vars(layer).get("forward")):
            del layer.forward  # left by an earlier call
        reason = explain_left_layer(facts, kind)
        if reason:
            left[reason] += 1
            continue
        names[id(layer)] = name
        active = str(layer.active_adapters[0])
        chosen[kind].append(LoraMember(layer, layer.forward, active, facts.base))
    found = _quicken_single(chosen["cpu"], left)
    found += _quicken_joint(model, chosen["cuda"], names, device, left)
    return found + [ChosenKernel(PART, PEFT, why, layers) for why, layers in left.items()]


def count_quick_lora(chosen: Sequence[ChosenKernel]) -> int:
    """Count the LoRA layers that are not computed by peft."""
    return sum(one.layers for one in chosen if one.part == PART and one.kernel != PEFT)


def _find_device_kind(layer: torch.nn.Module) -> str:
    place = next(iter(layer.base_layer.parameters())).device.type
    return "cpu" if place == "cpu" else "cuda"


def _explain_difference() -> str:
    return _("its outputs and gradients differ from peft's")


def _quicken_single(members: list[LoraMember], left: Counter[str]) -> list[ChosenKernel]:
    proved: dict[Any, bool] = {}
    count = 0
    for one in members:
        quick = partial(forward_single, one.layer, one.stock)
        if _prove_once(proved, [one], lambda x, quick=quick: [quick(x)], None):
            one.layer.forward = quick
            count += 1
        else:
            left[_explain_difference()] += 1
    return [ChosenKernel(PART, _(ONE), "", count)] if count else []


def _quicken_joint(
    model: torch.nn.Module,
    members: list[LoraMember],
    names: dict[int, str],
    device: Device | None,
    left: Counter[str],
) -> list[ChosenKernel]:
    if not members:
        return []
    matrix = members[0].down_matrix
    bf16 = device.has_bf16 if device is not None else torch.cuda.is_bf16_supported(including_emulation=False)
    half = choose_half_dtype(members[0].layer.base_layer.weight.dtype, bf16)
    wide = multiplies_into_float32(matrix.device, half) and _proves_group(
        {}, LoraGroup(members[:1], wide=True), half
    )
    proved: dict[Any, bool] = {}
    alone: dict[int, LoraGroup] = {}
    for one in members:
        group = LoraGroup([one], wide=wide)
        if _proves_group(proved, group, half):
            alone[id(one.layer)] = group
        else:
            left[_explain_difference()] += 1
    groups, why = _group_siblings(model, [one for one in members if id(one.layer) in alone], names, half)
    joint = []
    for holder, parts in groups:
        group = LoraGroup(parts, wide=wide)
        if _proves_group(proved, group, half):
            joint.append(JointRunner(group, [alone.pop(id(one.layer)) for one in parts]))
            module = model.get_submodule(holder)
            module.register_forward_pre_hook(joint[-1].begin_call)
            module.register_forward_hook(joint[-1].end_call, always_call=True)
    for together in joint:
        for place, one in enumerate(together.group.members):
            one.layer.forward = partial(together.forward_member, place)
    for group in alone.values():
        group.members[0].layer.forward = partial(forward_group_alone, group)
    # Only now: while groups are proved, each has a shadow of its own.
    _share_shadow(model, [*(one.group for one in joint), *alone.values()], names)
    together_count = sum(len(one.group.members) for one in joint)
    found = [ChosenKernel(PART, _(JOINT), "", together_count)] if joint else []
    return found + ([ChosenKernel(PART, _(ONE), why, len(alone))] if alone else [])


def _group_siblings(
    model: torch.nn.Module, members: list[LoraMember], names: dict[int, str], half: torch.dtype
) -> tuple[list[tuple[str, list[LoraMember]]], str]:
    """Return the layers that can share a product, by module; and a reason if that is not known."""
    by_name = {names[id(one.layer)]: one for one in members}
    try:
        seen = find_sibling_layers(model, by_name, half)
    except Exception as error:  # a model's own code may fail on two tokens in any way
        problem = one_line(f"{type(error).__name__}: {error}", 200)
        return [], _("layers with the same input could not be found ({problem})", problem=problem)
    found = []
    for holder, parts in seen:
        # One product scales all layers alike, and stacks their A in one tensor.
        alike: dict[Any, list[LoraMember]] = {}
        for one in parts:
            drops = getattr(one.layer.lora_dropout[one.name], "p", 0.0)
            same = (
                one.lora_scaling,
                one.down_matrix.dtype,
                one.down_matrix.device,
                one.up_matrix.dtype,
                drops,
            )
            alike.setdefault(same, []).append(one)
        found += [(holder, group) for group in alike.values() if len(group) > 1]
    return found, ""


def _share_shadow(model: torch.nn.Module, groups: list[LoraGroup], names: dict[int, str]) -> None:
    """Give all groups one shadow, with hooks on every module that holds all of their layers."""
    shadow = ShadowCopies(groups)
    for number, group in enumerate(groups):
        group.number, group.shadow = number, shadow
    used = [names[id(one.layer)].split(".") for group in groups for one in group.members]
    shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*used, strict=False))]
    # On each of them, because a pass may enter at any, such as at the base model alone.
    for length in range(len(shared) + 1):
        module = model.get_submodule(".".join(shared[:length]))
        if not isinstance(module, torch.nn.ModuleList):  # a list is never called
            module.register_forward_pre_hook(shadow.begin_pass)
            module.register_forward_hook(shadow.end_pass, always_call=True)


def _proves_group(proved: dict[Any, bool], group: LoraGroup, half: torch.dtype) -> bool:
    """Return whether a group computes the same as peft; tested once for each kind of group."""
    from torch._subclasses.fake_tensor import FakeTensor

    # In a trace the tensors hold no data to compare.
    if isinstance(group.members[0].down_matrix, FakeTensor):
        return True
    group.shadow = ShadowCopies([group])

    def quick(x: Tensor) -> list[Tensor]:
        place = x.device.type
        computing = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else x.dtype
        return group.compute_outputs(x, computing)

    try:
        return _prove_once(proved, group.members, quick, half)
    finally:
        group.shadow = None


def _prove_once(
    proved: dict[Any, bool], members: list[LoraMember], quick: Any, half: torch.dtype | None
) -> bool:
    kind = tuple(
        (
            one.kind,
            one.down_matrix.shape,
            one.up_matrix.shape,
            one.down_matrix.dtype,
            one.layer.base_layer.weight.dtype,
            str(one.down_matrix.device),
            one.layer.base_layer.bias is None,
            one.active_dropout is None,
        )
        for one in members
    )
    if kind not in proved:
        proved[kind] = agrees_with_peft(
            [one.layer for one in members], [one.stock for one in members], quick, half
        )
    return proved[kind]

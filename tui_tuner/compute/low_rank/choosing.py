"""Which LoRA layers of a model are computed in a quick way on a device, and which are left to peft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import torch

from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.compute.low_rank.bases import DENSE, TRANSPOSED, kind_of
from tui_tuner.compute.low_rank.joint import Group, Member, multiplies_into_float32
from tui_tuner.compute.low_rank.probe import agrees, half_of
from tui_tuner.compute.low_rank.shadow import Shadow
from tui_tuner.compute.low_rank.single import forward_single
from tui_tuner.compute.low_rank.together import Together, forward_alone, siblings
from tui_tuner.locales import N_, _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

PART = "lora"
PEFT = "peft"
ONE = N_("one step for each layer")
JOINT = N_("one step for layers with the same input")


@dataclass(frozen=True)
class LoraFacts:
    """What decides how a LoRA layer may be computed.

    Args:
        base: The sort of its frozen weight (`bases.kind_of`); empty if it is another.
        adapters: How many it has.
        variant: It is DoRA or another kind of its own, or has a bias or a layer of its own for A or B.
        dropout: Share of its input that is dropped in training.
        trained_base: Its own weight is trained too.
        hooked: Somebody else's code runs around it, such as what moves weights between devices.
        transposed: peft takes its weight for [inputs, outputs].
    """

    base: str = DENSE
    adapters: int = 1
    variant: bool = False
    dropout: float = 0.0
    trained_base: bool = False
    hooked: bool = False
    transposed: bool = False


def why_left(facts: LoraFacts, kind: str) -> str:
    """Why a layer is left to peft on a `cpu` or `cuda` device; empty if it is not."""
    if facts.adapters != 1:
        return _("it has several adapters")
    if facts.variant:
        return _("its adapter is of another kind than LoRA")
    if facts.trained_base:
        return _("its own weight is trained too")
    if facts.transposed != (facts.base == TRANSPOSED) or not facts.base:
        return _("its weight is of an unknown kind")
    if kind == "cpu" and (facts.base != DENSE or facts.transposed):
        return _("its weight is quantised or transposed, and this is a processor")
    if kind == "cpu" and facts.dropout:
        return _("it drops out, and this is a processor")
    if kind != "cpu" and facts.hooked:
        return _("other code runs around it")
    return ""


def facts_of(layer: Any) -> LoraFacts | None:
    """The facts of a module; None if it is no LoRA layer of peft beside a linear one."""
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
    linear = type(down) is torch.nn.Linear is type(up) and type(layer).__name__ in _PLAIN
    return LoraFacts(
        base=kind_of(base),
        variant=not linear or name in layer.lora_variant or bool(layer.lora_bias[name]),
        dropout=float(getattr(layer.lora_dropout[name], "p", 0.0)),
        trained_base=any(one.requires_grad for one in base.parameters()),
        hooked=any(map(_hooked, (base, down, up))) or _replaced(layer),
        transposed=bool(layer.fan_in_fan_out),
    )


_PLAIN = ("Linear", "Linear4bit", "Linear8bitLt")


def _hooked(module: Any) -> bool:
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module) or hasattr(module, "_hf_hook")


def _replaced(layer: Any) -> bool:
    """Whether somebody else has put a forward pass of theirs into a layer."""
    return "forward" in vars(layer) and not _is_ours(vars(layer)["forward"])


def _is_ours(forward: Any) -> bool:
    inner = getattr(forward, "func", None)
    return inner in (forward_single, forward_alone) or getattr(inner, "__func__", None) is Together.forward


def quicken(model: Any, device: Device | None = None) -> list[Chosen]:
    """Replace the forward pass of the LoRA layers that a quick way fits.

    Draws nothing from the global random state.

    Args:
        device: What the model is computed on; by the place of each layer's weight where it is None.

    Returns:
        What computes how many layers, and why peft computes the others.
    """
    left: Counter[str] = Counter()
    chosen: dict[str, list[Member]] = {"cpu": [], "cuda": []}
    names: dict[int, str] = {}
    for name, layer in model.named_modules():
        facts = facts_of(layer)
        if facts is None:
            continue
        kind = device.kind if device is not None else _kind(layer)
        if _is_ours(vars(layer).get("forward")):
            del layer.forward  # of an earlier call
        reason = why_left(facts, kind)
        if reason:
            left[reason] += 1
            continue
        names[id(layer)] = name
        active = str(layer.active_adapters[0])
        chosen[kind].append(Member(layer, layer.forward, active, facts.base))
    found = _quicken_single(chosen["cpu"], left)
    found += _quicken_joint(model, chosen["cuda"], names, device, left)
    return found + [Chosen(PART, PEFT, why, layers) for why, layers in left.items()]


def count_quick(chosen: Sequence[Chosen]) -> int:
    """How many LoRA layers something else than peft computes."""
    return sum(one.layers for one in chosen if one.part == PART and one.kernel != PEFT)


def _kind(layer: Any) -> str:
    place = next(iter(layer.base_layer.parameters())).device.type
    return "cpu" if place == "cpu" else "cuda"


def _differs() -> str:
    return _("it does not prove to give peft's outputs and gradients")


def _quicken_single(members: list[Member], left: Counter[str]) -> list[Chosen]:
    proved: dict[Any, bool] = {}
    count = 0
    for one in members:
        quick = partial(forward_single, one.layer, one.stock)
        if _proved(proved, [one], lambda x, quick=quick: [quick(x)], None):
            one.layer.forward = quick
            count += 1
        else:
            left[_differs()] += 1
    return [Chosen(PART, _(ONE), "", count)] if count else []


def _quicken_joint(
    model: Any,
    members: list[Member],
    names: dict[int, str],
    device: Device | None,
    left: Counter[str],
) -> list[Chosen]:
    if not members:
        return []
    matrix = members[0].down
    bf16 = device.bf16 if device is not None else torch.cuda.is_bf16_supported(including_emulation=False)
    half = half_of(members[0].layer.base_layer.weight.dtype, bf16)
    wide = multiplies_into_float32(matrix.device, half) and _proves({}, Group(members[:1], wide=True), half)
    proved: dict[Any, bool] = {}
    alone: dict[int, Group] = {}
    for one in members:
        group = Group([one], wide=wide)
        if _proves(proved, group, half):
            alone[id(one.layer)] = group
        else:
            left[_differs()] += 1
    groups, why = _grouped(model, [one for one in members if id(one.layer) in alone], names, half)
    joint = []
    for holder, parts in groups:
        group = Group(parts, wide=wide)
        if _proves(proved, group, half):
            joint.append(Together(group, [alone.pop(id(one.layer)) for one in parts]))
            module = model.get_submodule(holder)
            module.register_forward_pre_hook(joint[-1].begin)
            module.register_forward_hook(joint[-1].end, always_call=True)
    for together in joint:
        for place, one in enumerate(together.group.members):
            one.layer.forward = partial(together.forward, place)
    for group in alone.values():
        group.members[0].layer.forward = partial(forward_alone, group)
    _share(model, [*(one.group for one in joint), *alone.values()], names)
    together_count = sum(len(one.group.members) for one in joint)
    found = [Chosen(PART, _(JOINT), "", together_count)] if joint else []
    return found + ([Chosen(PART, _(ONE), why, len(alone))] if alone else [])


def _grouped(
    model: Any, members: list[Member], names: dict[int, str], half: Any
) -> tuple[list[tuple[str, list[Member]]], str]:
    """Layers that read the same tensor and can share a product; and why that is not known."""
    by_name = {names[id(one.layer)]: one for one in members}
    try:
        seen = siblings(model, by_name, half)
    except Exception as error:  # whatever a model's own code makes of two tokens
        problem = one_line(f"{type(error).__name__}: {error}", 200)
        return [], _("which layers read the same input was not found ({problem})", problem=problem)
    found = []
    for holder, parts in seen:
        alike: dict[Any, list[Member]] = {}
        for one in parts:
            drops = getattr(one.layer.lora_dropout[one.name], "p", 0.0)
            same = (one.scaling, one.down.dtype, one.down.device, one.up.dtype, drops)
            alike.setdefault(same, []).append(one)
        found += [(holder, group) for group in alike.values() if len(group) > 1]
    return found, ""


def _share(model: Any, groups: list[Group], names: dict[int, str]) -> None:
    """Give the groups one shadow, told of the passes of every module that holds all of the layers."""
    shadow = Shadow(groups)
    for number, group in enumerate(groups):
        group.number, group.shadow = number, shadow
    used = [names[id(one.layer)].split(".") for group in groups for one in group.members]
    shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*used, strict=False))]
    for length in range(len(shared) + 1):
        module = model.get_submodule(".".join(shared[:length]))
        if not isinstance(module, torch.nn.ModuleList):  # nobody calls one
            module.register_forward_pre_hook(shadow.begin)
            module.register_forward_hook(shadow.end, always_call=True)


def _proves(proved: dict[Any, bool], group: Group, half: Any) -> bool:
    """Whether a group computes what peft does, tried once for each kind of group."""
    from torch._subclasses.fake_tensor import FakeTensor

    if isinstance(group.members[0].down, FakeTensor):
        return True  # nothing to compare, for a trace only
    group.shadow = Shadow([group])

    def quick(x: Any) -> list[Any]:
        place = x.device.type
        computing = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else x.dtype
        return group.compute(x, computing)

    try:
        return _proved(proved, group.members, quick, half)
    finally:
        group.shadow = None


def _proved(proved: dict[Any, bool], members: list[Member], quick: Any, half: Any) -> bool:
    kind = tuple(
        (
            one.kind,
            one.down.shape,
            one.up.shape,
            one.down.dtype,
            one.layer.base_layer.weight.dtype,
            str(one.down.device),
            one.layer.base_layer.bias is None,
            one.dropout is None,
        )
        for one in members
    )
    if kind not in proved:
        proved[kind] = agrees([one.layer for one in members], [one.stock for one in members], quick, half)
    return proved[kind]

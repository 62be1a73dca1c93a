"""The layers of a model that a method trains or puts an adapter on, found in the model itself."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tui_tuner.config.sections.name_patterns import (
    EXPERTS,
    explain_regex,
    is_expert_target,
    is_plain_name,
    list_expert_targets,
)
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.new_weights import list_new_modules
from tui_tuner.text import join_sentence_items, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module, ModuleList

    from tui_tuner.config.schema import RunConfig

ALL = "all-linear"
_FUSED_SIDES = 3
# peft's names for tasks whose model has its own head, which every method trains
HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")


def find_layers(model: Module) -> ModuleList:
    """Return the stack of layers of a model: its longest ModuleList; of an encoder-decoder, the decoder's.

    Raises:
        ConfigError: the model has none.
    """
    import torch

    if getattr(model.config, "is_encoder_decoder", False):
        return find_stacks(model)[-1]

    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not stacks:
        raise ConfigError(_("this model has no stack of layers to choose from."), where="method.layers")
    # Experts and vision towers are lists of modules too, so the stack with as many layers as the config wins
    expected = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    return max(stacks, key=lambda stack: (len(stack) == expected, len(stack)))


def find_stacks(model: Module) -> list[ModuleList]:
    """Return the stacks of layers in the order of computation: one, or an encoder's and a decoder's.

    Raises:
        ConfigError: the model has none.
    """
    import torch

    if not getattr(model.config, "is_encoder_decoder", False):
        return [find_layers(model)]
    found = []
    for side in ("encoder", "decoder"):
        lists = [
            (name.count("."), module)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.ModuleList) and side in name.split(".")
        ]
        if not lists:
            raise ConfigError(_("this model has no stack of layers to choose from."), where="method.layers")
        # a layer may be a list of modules too, which lies deeper
        found.append(min(lists, key=lambda one: one[0])[1])
    return found


def list_layers(model: Module) -> list[Module]:
    """Return the layers of all stacks in the order of computation.

    Raises:
        ConfigError: the model has none.
    """
    return [layer for stack in find_stacks(model) for layer in stack]


def find_final_norms(model: Module, stack: Module | None = None) -> list[Module]:
    """Return the norms next to a stack of layers, such as `model.norm`; that of `find_layers` by default."""
    layers = find_layers(model) if stack is None else stack
    for module in model.modules():
        children = list(module.children())
        if any(child is layers for child in children):
            return [child for child in children if "norm" in type(child).__name__.lower()]
    return []


def name_saved_modules(model: Module, peft_type: str) -> list[str]:
    """Return the modules that are trained and saved whole with an adapter: the head, and new modules."""
    # peft adds `classifier`, `score` and `qa_outputs` itself; heads have other names too
    return list_new_modules(model) if peft_type in HEADED else []


def name_outside_layers(model: Module, targets: str | list[str]) -> list[str] | None:
    """Return linear layers outside the stack that share a name with one inside it, such as a pooler's.

    peft finds targets by name and would put adapters on these too. None if there are none, or if the user
    named the targets.
    """
    if targets != ALL and ALL not in targets:
        return None
    inside = {id(module) for layer in list_layers(model) for module in layer.modules()}
    names = set(name_linear_layers(model))
    found = [
        name
        for name, module in model.named_modules()
        if id(module) not in inside and name.rpartition(".")[2] in names
    ]
    return found or None


def is_transposed(model: Module) -> bool:
    """Return whether weights are stored as [inputs, outputs], as in GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in find_layers(model).modules())


def choose_last_layers(model: Module, asked: int) -> list[int]:
    """Return the indices of the last `asked` layers.

    Raises:
        ConfigError: the model has fewer.
    """
    count = len(find_layers(model))
    if asked > count:
        raise ConfigError(
            _("{asked} is more than this model's {layers} layers.", asked=asked, layers=count),
            where="method.layers",
        )
    return list(range(count - asked, count))


def choose_target_layers(model: Module, targets: str | list[str]) -> list[str]:
    """Return the last parts of the names of the linear layers that get an adapter.

    `all-linear` takes every linear layer inside the stack of layers, which leaves out the head. A text that
    no module has as its name is a regular expression for whole names, and gives full names. What stands for
    fused experts is left out (`choose_experts`).

    Raises:
        ConfigError: no linear layer has one of the names; the message lists the nearest ones.
    """
    found = name_linear_layers(model)
    if targets == ALL:
        return found
    asked = [targets] if isinstance(targets, str) else list(targets)
    asked = [name for name in asked if not is_expert_target(name)]
    if ALL in asked:
        asked = list(dict.fromkeys(name for one in asked for name in (found if one == ALL else (one,))))
    every = {name for name, _unused in model.named_modules()}
    unknown = [name for name in asked if not any(full == name or full.endswith(f".{name}") for full in every)]
    if unknown and isinstance(targets, str) and not is_plain_name(targets):
        return match_targets(targets, list_linears(model))
    if unknown:
        raise refuse_target(unknown[0], found)
    return asked


def choose_experts(model: Module, targets: str | list[str], layers: int | None = None) -> list[str]:
    """Return the names of the fused weights of experts that get an adapter; none unless `targets` name any.

    Args:
        layers: Only those of the last layers, by their full names.

    Raises:
        ConfigError: no experts of the model have one of the names, or it has none.
    """
    asked = list_expert_targets(targets)
    known = list_expert_weights(model) if asked else []
    found: dict[str, None] = {}
    for target in asked:
        named = [name for name in known if target == EXPERTS or name == target or name.endswith(f".{target}")]
        if not named:
            raise refuse_experts(target, known)
        found |= dict.fromkeys(named)
    if layers is None:
        # whole names would be as good, but an adapter's settings are read by people too
        return list(dict.fromkeys(".".join(name.split(".")[-2:]) for name in found))
    layers_of = find_layers(model)
    stack = next(name for name, module in model.named_modules() if module is layers_of)
    chosen = tuple(f"{stack}.{place}." for place in choose_last_layers(model, layers))
    return [name for name in found if name.startswith(chosen)]


def list_expert_weights(model: Module) -> list[str]:
    """Return the full names of the weights [experts, ., .] in which experts are fused, in the layers."""
    return [
        f"{name}.{own}"
        for name, module in model.named_modules()
        if "Experts" in type(module).__name__
        for own, weight in module.named_parameters(recurse=False)
        if weight.dim() == _FUSED_SIDES
    ]


def refuse_experts(target: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a target that no fused experts of the model have, with the names of those."""
    names = list(dict.fromkeys(".".join(name.split(".")[-2:]) for name in known))
    if names:
        hint = _(
            "Its experts are {names}; the word experts takes them all.", names=join_sentence_items(names)
        )
    else:
        hint = _("It has no fused experts; all-linear takes all its linear layers.")
    return ConfigError(
        _("this model has no experts {name!r}.", name=one_line(target, 80)),
        where="method.targets",
        field="method.targets",
        hint=hint,
    )


def list_linears(model: Module) -> list[str]:
    """Return the full names of all linear layers that an adapter can sit beside, wherever they are."""
    return [name for name, module in model.named_modules() if _takes_adapter(module)]


def match_targets(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the full names that a regular expression stands for.

    Raises:
        ConfigError: it is none, or stands for no linear layer.
    """
    known = list(names)
    problem = explain_regex(pattern)
    if problem:
        raise ConfigError(
            _("{name} is no regular expression: {problem}", name=one_line(pattern, 80), problem=problem),
            where="method.targets",
            field="method.targets",
        )
    found = [name for name in known if re.fullmatch(pattern, name)]
    if not found:
        raise ConfigError(
            _("no linear layer of this model has a name like {name}.", name=one_line(pattern, 80)),
            where="method.targets",
            field="method.targets",
            hint=_(
                "A regular expression has to fit whole names, such as {names}.",
                names=join_sentence_items(find_near(pattern, known) or known[:3]),
            ),
        )
    return found


def refuse_target(name: str, known: Iterable[str], field: str = "method.targets") -> ConfigError:
    """Return the error for a name that no linear layer of the model has, with the nearest names."""
    names = list(known)
    near = find_near(name, names)
    if near:
        hint = _(
            "Did you mean {near}? Its linear layers are {names}.",
            near=join_sentence_items(near),
            names=join_sentence_items(names),
        )
    else:
        hint = _(
            "Its linear layers are {names}; all-linear takes them all.", names=join_sentence_items(names)
        )
    return ConfigError(
        _("this model has no layer {name!r}.", name=one_line(name, 80)), where=field, field=field, hint=hint
    )


def find_near(name: str, known: list[str]) -> list[str]:
    """Return the names nearest to one that is not among them."""
    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def name_linear_layers(model: Module) -> list[str]:
    """Return the last parts of the names of all linear layers in the stack, in order of appearance."""
    names: dict[str, None] = {}
    for layer in list_layers(model):
        for name, module in layer.named_modules():
            if _takes_adapter(module):
                names[name.rpartition(".")[2]] = None
    return list(names)


def _takes_adapter(module: Module) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    # A router of experts may be a linear layer that returns several tensors (Llama 4), which no adapter
    # supports: linear layers defined by a model itself get none
    own = type(module).__module__.startswith("transformers.models.")
    return isinstance(module, torch.nn.Linear | Conv1D) and not own


def name_embedding_layers(model: Module) -> list[str]:
    """Return the last parts of the names of the input embeddings and of the head."""
    wanted = (model.get_input_embeddings(), model.get_output_embeddings())
    return [
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if any(module is one for one in wanted if one is not None)
    ]


def name_peft_targets(model: Module, config: RunConfig, peft_type: str) -> dict[str, Any]:
    """Return the arguments of a peft config that name the target layers and the modules saved whole."""
    method = config.method
    found: dict[str, Any] = {
        "target_modules": choose_target_layers(model, method.targets),
        "exclude_modules": name_outside_layers(model, method.targets),
        "modules_to_save": name_saved_modules(model, peft_type) or None,
        "task_type": peft_type,
    }
    if method.layers is None:
        return found
    places = choose_last_layers(model, method.layers)
    if len(find_stacks(model)) > 1:
        # peft would take the layers with these numbers in both stacks
        stack = find_layers(model)
        found["target_modules"] = _name_targets_in([stack[place] for place in places], model, found)
    else:
        found["layers_to_transform"] = places
    return found


def name_inside(model: Module, where: dict[str, Any]) -> dict[str, Any]:
    """Replace the names of targets by full names if layers outside the stack share them."""
    # peft's VeRA and RandLoRA have no `exclude_modules`, which other methods use for this
    if where.pop("exclude_modules") is not None:
        # nor does peft ask which layer it is where it finds a full name
        places = where.pop("layers_to_transform", None)
        stack = find_layers(model)
        parts = list_layers(model) if places is None else [stack[place] for place in places]
        where["target_modules"] = _name_targets_in(parts, model, where)
    return where


def _name_targets_in(parts: list[Module], model: Module, where: dict[str, Any]) -> list[str]:
    """Return the full names of the targets in some layers."""
    inside = {id(module) for part in parts for module in part.modules()}
    names = where["target_modules"]
    return [
        full
        for full, module in model.named_modules()
        if id(module) in inside and any(f".{full}".endswith(f".{name}") for name in names)
    ]


def write_head_config(base: Module, peft_type: str, folder: Path) -> None:
    """Write the model's config next to an adapter with a head, because it has the names of the classes.

    Nothing is written for a model that writes text: the base model's own config is enough for it.
    """
    if peft_type not in HEADED:
        return
    config = copy.deepcopy(base.config)
    config.architectures = [type(base).__name__]
    if hasattr(config, "quantization_config"):
        # The next program that loads the adapter chooses its own quantisation
        del config.quantization_config
    config.save_pretrained(str(folder))

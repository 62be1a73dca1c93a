"""The layers of a model that a method trains or puts an adapter on, found in the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.new_weights import new_modules
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch.nn import Module, ModuleList

    from tui_tuner.config.schema import RunConfig

# peft's names for tasks whose model has a head of its own, which every method trains
HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")


def decoder_layers(model: Module) -> ModuleList:
    """The stack of layers of a model: its longest ModuleList.

    Raises:
        ConfigError: the model has none.
    """
    import torch

    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not stacks:
        raise ConfigError(_("this model has no stack of layers to choose from."), where="method.layers")
    expected = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    return max(stacks, key=lambda stack: (len(stack) == expected, len(stack)))


def final_norms(model: Module) -> list[Module]:
    """Normalisations beside the stack of layers, such as `model.norm`."""
    layers = decoder_layers(model)
    for module in model.modules():
        children = list(module.children())
        if any(child is layers for child in children):
            return [child for child in children if "norm" in type(child).__name__.lower()]
    return []


def saved_modules(model: Module, peft_type: str) -> list[str]:
    """What is trained and saved whole beside an adapter: the head of a task that has one, and what is new.

    peft names `classifier`, `score` and `qa_outputs` itself; heads go by other names too.
    """
    return new_modules(model) if peft_type in HEADED else []


def outside_layers(model: Module, targets: str | list[str]) -> list[str] | None:
    """Linear layers that have the name of one in the stack of layers and are not in it, such as a pooler's.

    They get no adapter where all linear layers of the stack do; None where there are none.
    """
    if targets != "all-linear":
        return None
    inside = {id(module) for module in decoder_layers(model).modules()}
    names = set(linear_names(model))
    found = [
        name
        for name, module in model.named_modules()
        if id(module) not in inside and name.rpartition(".")[2] in names
    ]
    return found or None


def transposed(model: Module) -> bool:
    """Whether weights lie the other way round, [inputs, outputs], as in GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in decoder_layers(model).modules())


def last_layers(model: Module, asked: int) -> list[int]:
    """The places of the last `asked` layers.

    Raises:
        ConfigError: the model has fewer.
    """
    count = len(decoder_layers(model))
    if asked > count:
        raise ConfigError(
            _("{asked} is more than this model's {layers} layers.", asked=asked, layers=count),
            where="method.layers",
        )
    return list(range(count - asked, count))


def target_names(model: Module, targets: str | list[str]) -> list[str]:
    """The last parts of the names of linear layers that get an adapter.

    `all-linear` takes every linear layer inside the stack of layers, which leaves out the head.

    Raises:
        ConfigError: a name that no linear layer has; the ones there are named.
    """
    found = linear_names(model)
    if targets == "all-linear":
        return found
    asked = [targets] if isinstance(targets, str) else list(targets)
    every = {name for name, _unused in model.named_modules()}
    unknown = [name for name in asked if not any(full == name or full.endswith(f".{name}") for full in every)]
    if unknown:
        raise ConfigError(
            _("this model has no layer {name!r}.", name=one_line(unknown[0])),
            where="method.targets",
            hint=_("Its linear layers are {names}; all-linear takes them all.", names=", ".join(found)),
        )
    return asked


def linear_names(model: Module) -> list[str]:
    """The last parts of the names of all linear layers in the stack of layers, in order of appearance.

    A model's own kind of linear layer is none of them: a router of experts may return several tensors
    (Llama 4), which an adapter beside it cannot take.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    names: dict[str, None] = {}
    for layer in decoder_layers(model):
        for name, module in layer.named_modules():
            own = type(module).__module__.startswith("transformers.models.")
            if isinstance(module, torch.nn.Linear | Conv1D) and not own:
                names[name.rpartition(".")[2]] = None
    return list(names)


def embedding_names(model: Module) -> list[str]:
    """The names of the input embeddings and of the head."""
    wanted = (model.get_input_embeddings(), model.get_output_embeddings())
    return [
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if any(module is one for one in wanted if one is not None)
    ]


def name_targets(model: Module, config: RunConfig, peft_type: str) -> dict[str, Any]:
    """The arguments of a config of peft that say which layers get an adapter, and what is saved whole."""
    method = config.method
    found: dict[str, Any] = {
        "target_modules": target_names(model, method.targets),
        "exclude_modules": outside_layers(model, method.targets),
        "modules_to_save": saved_modules(model, peft_type) or None,
        "task_type": peft_type,
    }
    if method.layers is not None:
        found["layers_to_transform"] = last_layers(model, method.layers)
    return found

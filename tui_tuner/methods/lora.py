"""LoRA, DoRA and rank-stabilised LoRA, through peft."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.weights import HEADED, decoder_layers
from tui_tuner.models.new_weights import new_modules
from tui_tuner.text import one_line


def attach_lora(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Freeze the model and put low-rank matrices beside its linear layers."""
    from peft import LoraConfig, get_peft_model

    method = config.method
    targets = target_names(model, method.targets)
    options: dict[str, Any] = {}
    if method.layers is not None:
        options["layers_to_transform"] = last_layers(model, method.layers)
    kept = saved_modules(model, peft_type)
    if method.train_embeddings:
        kept += [name for name in embedding_names(model) if name not in kept]
        options["ensure_weight_tying"] = True
    if kept:
        options["modules_to_save"] = kept
    try:
        settings = LoraConfig(
            r=method.rank,
            lora_alpha=method.alpha,
            lora_dropout=method.dropout,
            target_modules=targets,
            exclude_modules=outside_layers(model, method.targets),
            use_dora=method.kind == "dora",
            use_rslora=method.kind == "rslora",
            fan_in_fan_out=transposed(model),
            bias="none",
            task_type=peft_type,
            **options,
        )
        return get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(one_line(error, 300), where="method", field="method.kind") from error


def saved_modules(model: Any, peft_type: str) -> list[str]:
    """What is trained and saved whole beside an adapter: the head of a task that has one, and what is new.

    peft names `classifier`, `score` and `qa_outputs` itself; heads go by other names too.
    """
    return new_modules(model) if peft_type in HEADED else []


def outside_layers(model: Any, targets: str | list[str]) -> list[str] | None:
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


def transposed(model: Any) -> bool:
    """Whether weights lie the other way round, [inputs, outputs], as in GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in decoder_layers(model).modules())


def last_layers(model: Any, asked: int) -> list[int]:
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


def target_names(model: Any, targets: str | list[str]) -> list[str]:
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


def linear_names(model: Any) -> list[str]:
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


def embedding_names(model: Any) -> list[str]:
    """The names of the input embeddings and of the head."""
    wanted = (model.get_input_embeddings(), model.get_output_embeddings())
    return [
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if any(module is one for one in wanted if one is not None)
    ]

"""Put a saved adapter of any method onto a base model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.methods import find_method
from tui_tuner.methods.attached import remember_method
from tui_tuner.methods.method import Method
from tui_tuner.methods.own_adapter import METHOD
from tui_tuner.methods.peft_method import OtherAdapter, PeftMethod, put_below
from tui_tuner.methods.stored import WEIGHTS, Stored, list_below, read_stored
from tui_tuner.models.libraries import QUANTISING, hide_packages
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


def put_adapter(base: Module, place: Path) -> Module:
    """Load the adapter in a folder onto a base model, and return the result.

    A base model with fewer embeddings than the adapter is resized first.

    Raises:
        ModelError: the adapter is damaged, or was made for another model.
    """
    method = find_adapter_method(read_stored(place).settings)
    model = method.load_adapter(base, place)
    remember_method(model, method)
    return model


def begin_adapter(base: Module, config: RunConfig, peft_type: str, place: Path) -> Module:
    """Return a model whose training begins with a saved adapter: trained on, or frozen under a new one.

    Draws from the global seed.

    Args:
        peft_type: PEFT's name for the task.

    Raises:
        ConfigError, ModelError: the method or the adapter does not fit the model.
    """
    method = find_method(config.method.kind)
    with hide_packages(*QUANTISING):
        if config.model.adapter_use == "continue":
            model = method.continue_adapter(base, place)
        else:
            _put_heads(base, place)
            model = method.attach(base, config, peft_type)
            put_below(model, [*list_below(place), place])
    remember_method(model, method)
    return model


def _put_heads(base: Module, place: Path) -> None:
    """Give a base model the head that an adapter was trained with, which a new adapter goes on from."""
    from safetensors.torch import load_file

    kept = set(read_stored(place).settings.get("modules_to_save") or ())
    weights = dict(base.named_parameters())
    for name, weight in load_file(place / WEIGHTS).items() if kept else ():
        own = name.removeprefix("base_model.model.")
        if not kept & set(own.split(".")):
            continue
        if own not in weights or weights[own].shape != weight.shape:
            raise ModelError(
                _("the adapter was trained with another head: {name} does not fit.", name=one_line(own, 120)),
                where=one_line(place),
                hint=_("Is the data of the same classes?"),
            )
        weights[own].data.copy_(weight)


def find_adapter_method(settings: Mapping[str, Any]) -> Method:
    """Return the method of an adapter, from its `adapter_config.json`; `OtherAdapter` if none makes such."""
    name = settings.get(METHOD)
    if isinstance(name, str) and name in METHODS:
        return find_method(name)
    # Adapters of peft have only peft's type, which several methods may share: the first one is taken
    known = [find_method(name) for name, kind in METHODS.items() if kind.has_trait(Trait.ADAPTER)]
    made = (method for method in known if isinstance(method, PeftMethod) and method.is_made_by(settings))
    return next(made, None) or OtherAdapter()


def leaves_base(stored: Stored) -> bool:
    """Return whether an adapter changes no tensor of the base model, so that other models can share it."""
    return find_adapter_method(stored.settings).leaves_base(stored)

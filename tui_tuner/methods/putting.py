"""Put a saved adapter of any method onto a base model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.methods import find_method
from tui_tuner.methods.attached import remember_method
from tui_tuner.methods.method import Method
from tui_tuner.methods.own_adapter import METHOD
from tui_tuner.methods.peft_method import OtherAdapter, PeftMethod
from tui_tuner.methods.stored import Stored, read_stored

if TYPE_CHECKING:
    from torch.nn import Module


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

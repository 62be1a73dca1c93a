"""The base class of adapters that no library provides: a method adds its modules, and the rest is here.

They are saved under peft's file names (`adapter_config.json`, `adapter_model.safetensors`), so that anything
that looks for an adapter in a folder finds one; the config names the method of this package that loads it.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.methods.attached import find_attached, forget_method, remember_method
from tui_tuner.methods.layers import name_saved_modules, write_head_config
from tui_tuner.methods.method import Method, refuse_quantised_merging
from tui_tuner.methods.stored import CONFIG, WEIGHTS, Stored, check_adapter_names, read_stored
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig

METHOD = "method"  # in `adapter_config.json`: the name of the method that loads it


class OwnAdapter(Method):
    """A method whose modules are inserted into a frozen model and trained there.

    A subclass implements `add_modules`, and `fold_modules` if its entry has the trait `mergeable`.
    """

    library = "tui-tuner"

    @abstractmethod
    def add_modules(self, model: Module, settings: Mapping[str, Any]) -> None:
        """Insert the method's modules into a model, in place. Draws from the global seed.

        The same settings on the same model must give the same names, by which saved weights are loaded.

        Args:
            settings: The fields of the section `method` that the method reads.
        """

    def fold_modules(self, model: Module) -> None:
        """Fold the method's modules into the weights of the model, and remove them from it, in place."""
        raise NotImplementedError

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        model.requires_grad_(False)
        heads = name_saved_modules(model, peft_type)
        settings = {name: getattr(config.method, name) for name in self.kind.fields}
        # Added after everything was frozen, new modules are trainable; an existing head must be unfrozen
        self.add_modules(model, settings)
        for name in heads:
            model.get_submodule(name).requires_grad_(True)
        more = {"task_type": peft_type, "modules_to_save": heads or None}
        remember_method(model, self, {METHOD: self.name, **settings, **more})
        return model

    def save_model(self, model: Module, folder: Path) -> None:
        from safetensors.torch import save_file

        found = find_attached(model)
        settings = found.settings if found is not None else {}
        trained = {
            name: weight.detach().cpu().contiguous()
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        save_file(trained, folder / WEIGHTS, metadata={"format": "pt"})
        told = {"base_model_name_or_path": model.name_or_path, **settings}
        (folder / CONFIG).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_head_config(model, str(settings.get("task_type")), folder)

    def can_load(self, settings: Mapping[str, Any]) -> bool:
        return settings.get(METHOD) == self.name

    def read_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: settings[name] for name in self.kind.fields if name in settings}

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        base.requires_grad_(False)
        model = self.load_adapter(base, folder)
        trained = read_stored(folder).shapes
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in trained)
        return model

    def load_adapter(self, base: Module, folder: Path) -> Module:
        from safetensors.torch import load_file

        stored = read_stored(folder)
        # Weights that appear with the modules are the adapter's own; a saved head goes into the base's
        before = {id(weight) for weight in base.parameters()}
        self.add_modules(base, stored.settings)
        heads = tuple(f"{name}." for name in stored.settings.get("modules_to_save") or ())
        places = {
            name: weight
            for name, weight in base.named_parameters()
            if id(weight) not in before or (heads and name.startswith(heads))
        }
        check_adapter_names(
            stored.shapes.keys() - places.keys(), places.keys() - stored.shapes.keys(), folder
        )
        for name, weight in load_file(folder / WEIGHTS).items():
            place = places[name]
            if place.shape != weight.shape:
                raise ModelError(
                    _(
                        "the adapter belongs to another model: {name} has the shape {stored}, but this model "
                        "needs {wanted}.",
                        name=one_line(name, 120),
                        stored=list(weight.shape),
                        wanted=list(place.shape),
                    ),
                    where=one_line(folder),
                    hint=_("Check that the base model is the one it was trained on."),
                )
            place.data.copy_(weight)
        remember_method(base, self, dict(stored.settings))
        return base

    def leaves_base(self, stored: Stored) -> bool:
        # Modules are added next to the tensors of the base, but a saved head overwrites the base's own
        return not stored.settings.get("modules_to_save")

    def merge_weights(self, model: Module) -> Module:
        refuse_quantised_merging(model)
        self.fold_modules(model)
        forget_method(model)
        return model

    def note_revision(self, model: Module, revision: str) -> None:
        found = find_attached(model)
        if found is not None:
            found.settings["revision"] = revision or None

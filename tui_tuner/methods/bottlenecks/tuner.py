"""The classes that peft calls: they find the places in a model, and put adapters there."""

from __future__ import annotations

from typing import Any, ClassVar

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from tui_tuner.methods.bottlenecks.adapted import AdaptedModule, BottleneckModule, ResidualReader
from tui_tuner.methods.bottlenecks.fusing import FusionModule
from tui_tuner.methods.bottlenecks.peft_registry import register_method
from tui_tuner.methods.bottlenecks.places import Place, UnfitModel, find_places
from tui_tuner.methods.bottlenecks.settings import BottleneckConfig, FusionConfig, PlacedConfig
from tui_tuner.methods.layers import list_layers


class PlacedModel(BaseTuner):
    """Adapters at the places of a style. One model takes adapters of one style only at each place."""

    tuner_layer_cls = AdaptedModule
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        if not hasattr(self, "_readers"):
            self._readers: dict[str, tuple[ResidualReader, Any]] = {}

    def _prepare_adapter_config(self, peft_config: PlacedConfig, model_config: Any) -> PlacedConfig:
        found = find_places(self.model, peft_config.style)
        self._places = {place.name: place for place in found}
        if peft_config.target_modules is None:
            each = len(found) // len(list_layers(self.model))
            kept = found[-peft_config.layers * each :] if peft_config.layers else found
            peft_config.target_modules = [place.name for place in kept]
        return peft_config

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        place = self._places.get(current_key)
        if place is None:
            raise UnfitModel(f"{current_key} is no place of the style {peft_config.style}")
        if isinstance(target, self.tuner_layer_cls):
            if target.place.role != place.role:
                raise UnfitModel(f"{current_key} has an adapter of another style already")
            target.add_adapter(adapter_name, peft_config)
            return
        made = self.tuner_layer_cls(target, place, self._find_reader(place))
        made.add_adapter(adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            made.requires_grad_(False)  # one that is added later is trained when it is chosen
        self._replace_module(parent, target_name, made, target)

    def _find_reader(self, place: Place) -> ResidualReader | None:
        if not place.source:
            return None
        if place.source not in self._readers:
            reader = ResidualReader()
            source = self.model.get_submodule(place.source)
            self._readers[place.source] = (reader, source.register_forward_pre_hook(reader))
        return self._readers[place.source][0]

    def _unload_and_optionally_merge(self, merge: bool = True, **options: Any) -> Any:
        if merge:
            raise NotImplementedError("a bottleneck adapter has a non-linearity: it cannot be merged")
        for _reader, handle in self._readers.values():
            handle.remove()
        return super()._unload_and_optionally_merge(merge=False, **options)


class BottleneckModel(PlacedModel):
    """Bottleneck adapters."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckModule


class FusionModel(PlacedModel):
    """Attention over frozen bottleneck adapters."""

    prefix = "fusion_"
    tuner_layer_cls = FusionModule


def register_methods() -> None:
    """Enter both into peft's registry."""
    register_method("bottleneck", BottleneckConfig, BottleneckModel)
    register_method("fusion", FusionConfig, FusionModel)


register_methods()


def describe_places(model: nn.Module) -> dict[str, dict[str, str]]:
    """Return the places of the adapters in a model of peft, by names in its base model."""
    base = model.get_base_model()  # type: ignore[operator]
    found = {}
    for name, module in base.named_modules():
        if isinstance(module, AdaptedModule):
            source = module.place.source
            found[name] = {"role": module.place.role, "source": source}
    return found

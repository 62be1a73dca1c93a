"""Bottleneck adapters (Houlsby, Pfeiffer, parallel) and AdapterFusion, entered into peft's registry.

peft has neither; `bottlenecks/` tells it of both, so that it saves, loads and switches them as its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.locales import _
from tui_tuner.methods.attached import remember_method
from tui_tuner.methods.bottlenecks.stored_bottlenecks import check_width, read_adapters
from tui_tuner.methods.layers import choose_last_layers, name_saved_modules
from tui_tuner.methods.numbers.bottlenecks import BottleneckNumbers, FusionNumbers, settle_style
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts

PLACES = "adapter_places.json"  # in a saved folder: where the adapter sits, for the loader
LOADER = "load_adapter.py"  # in a saved folder: puts the adapter onto its model without this program


class PlacedAdapter(PeftMethod):
    """What bottleneck adapters and their fusion have in common."""

    library = "tui-tuner"
    standalone = True

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        why = ""
        if facts.family.shared:
            why = _("its layers share their weights")
        elif facts.has_experts:
            why = _("its feed-forward blocks are mixtures of experts")
        if why:
            raise _refuse_model(self, why)

    def save_model(self, model: Module, folder: Path) -> None:
        from tui_tuner.methods.bottlenecks.tuner import describe_places

        super().save_model(model, folder)
        places = json.dumps(describe_places(model), indent=1) + "\n"
        (folder / PLACES).write_text(places, encoding="utf-8")
        shutil.copyfile(Path(__file__).with_name("bottlenecks") / "standalone.py", folder / LOADER)

    def _load_one(self, base: Module, folder: Path, trained: bool = False) -> Module:
        from tui_tuner.methods.bottlenecks import tuner  # noqa: F401  # peft hears of these adapters

        return super()._load_one(base, folder, trained)

    def merge_weights(self, model: Module) -> Module:
        raise ModelError(
            _("bottleneck adapters cannot be merged: there is a non-linearity between their matrices."),
            where="method.kind",
            hint=_("Use the adapter next to its model, or train with lora."),
        )


class Bottleneck(BottleneckNumbers, PlacedAdapter):
    """Two matrices with a non-linearity between them, in every layer."""

    peft_type = "BOTTLENECK"
    names: ClassVar[Mapping[str, str]] = {
        name: name for name in ("style", "reduction", "non_linearity", "layer_norm", "layers")
    }

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from tui_tuner.methods.bottlenecks.tuner import BottleneckConfig

        style = settle_style(config.method)
        if config.method.layers is not None:
            choose_last_layers(model, config.method.layers)  # refuses more than there are
        settings = BottleneckConfig(
            task_type=peft_type,
            modules_to_save=name_saved_modules(model, peft_type) or None,
            layers=config.method.layers,
            style=style.name,
            size=style.find_size(int(model.config.get_text_config().hidden_size)),
            reduction=style.reduction,
            non_linearity=style.non_linearity,
            layer_norm=style.layer_norm,
            scaling=style.scaling,
            init=style.init,
        )
        return _wrap_placed(self, model, settings)


class Fusion(FusionNumbers, PlacedAdapter):
    """Attention over several frozen bottleneck adapters, which are saved with it."""

    peft_type = "FUSION"

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        super().check_model(config, facts)
        adapters = read_adapters(config.method.fused_adapters, config.output.folder)
        check_width(adapters, facts.hidden, "")

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from tui_tuner.methods.bottlenecks.fused_adapters import fill_adapters

        adapters = read_adapters(config.method.fused_adapters, config.output.folder)
        check_width(adapters, int(model.config.get_text_config().hidden_size), model.name_or_path)
        told = [one.describe_adapter() for one in adapters]
        model = self.put_room(model, told, adapters[0].style, adapters[0].layers, peft_type)
        fill_adapters(model, adapters)
        return model

    def put_room(
        self, model: Module, adapters: list[dict[str, Any]], style: str, layers: int | None, peft_type: str
    ) -> Module:
        """Put attention into a model, and room for adapters that are described so (`FusionConfig`)."""
        from tui_tuner.methods.bottlenecks.tuner import FusionConfig

        settings = FusionConfig(
            task_type=peft_type,
            modules_to_save=name_saved_modules(model, peft_type) or None,
            layers=layers,
            style=style,
            adapters=adapters,
        )
        return _wrap_placed(self, model, settings)

    def extra_loss(self, model: Module) -> Tensor | None:
        from tui_tuner.methods.bottlenecks.fusing import PULL, FusionModule

        found = None
        for module in model.modules():
            apart = module.measure_pull() if isinstance(module, FusionModule) else None
            if apart is not None:
                found = apart if found is None else found + apart
        return None if found is None else PULL * found


def _wrap_placed(method: PlacedAdapter, model: Module, settings: Any) -> Module:
    """Put adapters at the places that settings describe.

    Raises:
        ConfigError: this model has no such places.
    """
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        raise _refuse_model(method, one_line(error, 300).rstrip(".")) from error


def _refuse_model(method: PlacedAdapter, why: str) -> ConfigError:
    return ConfigError(
        _("{method} does not work with this model: {why}.", method=_(method.kind.label), why=why),
        where="method.kind",
        hint=_("Use lora."),
    )


def put_fusion(model: Module, style: str, sizes: Sequence[int], peft_type: str) -> Module:
    """Put a fusion of adapters of these inner widths, saved nowhere, into a model: for traces."""
    told = [{"name": "", "size": size, "non_linearity": "relu", "scaling": 1.0} for size in sizes]
    made = FUSION.put_room(model, told, style, None, peft_type)
    remember_method(made, FUSION)
    return made


FUSION = Fusion("fusion")
METHODS = (Bottleneck("bottleneck"), FUSION)

"""LoftQ's beginning (arXiv 2310.08659): the best product for what quantising took from each weight."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.loading import find_model_source
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MOST_LOST = 0.3  # of a weight, as a share of its norm: four bits lose about a tenth


def begin_with_loss(layers: list[tuple[str, Any]], model: Module, config: RunConfig) -> None:
    """Let each layer's adapter begin as the best product for original weight minus quantised weight.

    Raises:
        ConfigError: the weights in full precision are not there, or a layer is not quantised.
    """
    import torch

    with _open_weights(config) as read, torch.no_grad():
        for name, layer in layers:
            quantised = _dequantise(name, layer)
            whole = read(name, getattr(model.get_base_model(), "base_model_prefix", ""))
            if whole is not None and whole.shape != quantised.shape:
                whole = whole.T  # of a kind of layer that stores [inputs, outputs]
            if whole is None or whole.shape != quantised.shape:
                raise _refuse(_("the weights of {name} are not in its files.", name=one_line(name, 120)))
            lost = whole.to(quantised.device, torch.float32) - quantised
            if not lost.norm() <= _MOST_LOST * quantised.norm():
                raise _refuse(_("the weights of {name} in its files are others.", name=one_line(name, 120)))
            adapter = layer.active_adapters[0]
            rank, scale = layer.r[adapter], math.sqrt(layer.scaling[adapter])
            left, values, right = torch.linalg.svd(lost, full_matrices=False)
            root = values[:rank].sqrt() / scale
            layer.lora_B[adapter].weight.copy_(left[:, :rank] * root)
            layer.lora_A[adapter].weight.copy_(root[:, None] * right[:rank])


def _dequantise(name: str, layer: Any) -> Tensor:
    from peft.utils.integrations import dequantize_module_weight

    if not hasattr(layer.base_layer.weight, "quant_state"):
        raise _refuse(_("the weight of {name} is not in 4 bits.", name=one_line(name, 120)))
    found: Tensor = dequantize_module_weight(layer.base_layer)
    return found.float()


def _refuse(what: str) -> ConfigError:
    return ConfigError(
        _("LoftQ cannot begin: {what}", what=what),
        where="method.init",
        field="method.init",
        hint=_("It compares each weight in 4 bits with the file's own. Use default, or a model in 16 bits."),
    )


@contextmanager
def _open_weights(config: RunConfig) -> Iterator[Any]:
    """Yield what reads a weight from the model's files: `(module, prefix) -> Tensor`, None if it is not
    there.
    """
    from safetensors import safe_open

    places = _list_weights(config)
    with ExitStack() as stack:
        files: dict[Path, Any] = {}

        def read(module: str, prefix: str) -> Tensor | None:
            names = (module, module.removeprefix(f"{prefix}."), f"{prefix}.{module}")
            found = next((one for name in names if (one := f"{name}.weight") in places), None)
            if found is None:
                return None
            path = places[found]
            if path not in files:
                files[path] = stack.enter_context(safe_open(path, framework="pt"))
            tensor: Tensor = files[path].get_tensor(found)
            return tensor if tensor.is_floating_point() else None

        yield read


def _list_weights(config: RunConfig) -> dict[str, Path]:
    """Return in which file each weight of the run's model is."""
    from safetensors import safe_open
    from transformers.utils.hub import cached_file

    source = find_model_source(config.model)
    more: dict[str, Any] = {"revision": config.model.revision} if config.model.revision else {}

    def find(name: str) -> str | None:
        try:
            return cached_file(source, name, local_files_only=True, **more)  # type: ignore[no-any-return]
        except OSError:
            return None

    index = find(_INDEX)
    if index is not None:
        told = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
        return {name: Path(index).parent / Path(file).name for name, file in told.items()}
    whole = find(_WHOLE)
    if whole is None:
        raise _refuse(_("its weights are not in safetensors."))
    with safe_open(whole, framework="pt") as file:
        return dict.fromkeys(file.keys(), Path(whole))

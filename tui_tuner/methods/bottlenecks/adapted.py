"""The modules of bottleneck adapters, put around a projection or a norm of a frozen model.

Houlsby et al. 2019 (arXiv 1902.00751), Pfeiffer et al. 2021 (arXiv 2005.00247), He et al. 2022 (arXiv
2110.04366). Which sum each of them reads is `places.Place.role`.
"""

from __future__ import annotations

import math
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from tui_tuner.methods.bottlenecks.places import BESIDE, NORMED, SUMMED, Place, find_sizes
from tui_tuner.methods.bottlenecks.settings import BottleneckConfig
from tui_tuner.methods.bottlenecks.standalone import FUNCTIONS

INITIAL_SPREAD = 0.02  # standard deviation, as in BERT


class ResidualReader:
    """Keeps what entered a module until the adapter after it has read it."""

    def __init__(self) -> None:
        self.residual: Tensor | None = None

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.residual = inputs[0]

    def take_residual(self) -> Tensor:
        """Return what entered, and let go of it: nothing is kept from one pass to the next."""
        found, self.residual = self.residual, None
        assert found is not None, "the residual did not pass its module"
        return found


class AdaptedModule(nn.Module, BaseTunerLayer):
    """A module of the model with adapters around it. A subclass says what they compute.

    Args:
        reader: Of the residual, where the place needs it.
    """

    def __init__(self, base_layer: nn.Module, place: Place, reader: ResidualReader | None) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.place, self.reader = place, reader
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        sizes = find_sizes(base_layer)
        if sizes is not None:  # what looks for linear layers sees one, as in peft's own adapters
            self.in_features, self.out_features = sizes

    def compute_update(self, name: str, x: Tensor) -> Tensor:
        """Return what an adapter makes of [..., width], in its own dtype."""
        raise NotImplementedError

    def has_adapter(self, name: str) -> bool:
        """Return whether an adapter sits here."""
        return name in self._get_available_adapters()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        residual = self.reader.take_residual() if self.reader is not None else None
        result: Tensor = self.base_layer(x, *args, **kwargs)
        names = [name for name in self.active_adapters if self.has_adapter(name)]
        if self.disable_adapters or not names:
            return result
        role = self.place.role
        if role == BESIDE:
            read = residual
        elif role == SUMMED:
            assert residual is not None
            read = residual + result
        else:
            read = result
        assert read is not None
        del residual
        update = self.compute_update(names[0], read)
        for name in names[1:]:
            update = update + self.compute_update(name, read)
        del read
        if role == NORMED:
            del result
            return self.base_layer(x + update.to(x.dtype), *args, **kwargs)
        return result + update.to(result.dtype)


class BottleneckModule(AdaptedModule):
    """Two matrices with a non-linearity between them."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up", "bottleneck_norm")
    other_param_names = ("bottleneck_settings",)

    def __init__(self, base_layer: nn.Module, place: Place, reader: ResidualReader | None) -> None:
        super().__init__(base_layer, place, reader)
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_norm = nn.ModuleDict()
        self.bottleneck_settings: dict[str, BottleneckConfig] = {}

    def add_adapter(self, name: str, settings: BottleneckConfig) -> None:
        """Make the matrices of an adapter. Draws from the global seed."""
        width = self.place.width
        down, up = nn.Linear(width, settings.size), nn.Linear(settings.size, width)
        _begin_matrices(down, up, settings.init)
        self.bottleneck_down[name], self.bottleneck_up[name] = down, up
        if settings.layer_norm != "none":
            self.bottleneck_norm[name] = nn.LayerNorm(width)
        self.bottleneck_settings[name] = settings
        self._move_adapter_to_device_of_base_layer(name)
        self.set_adapter(self.active_adapters, inference_mode=settings.inference_mode)

    def compute_update(self, name: str, x: Tensor) -> Tensor:
        settings, down = self.bottleneck_settings[name], self.bottleneck_down[name]
        x = self._cast_input_dtype(x, down.weight.dtype)
        if settings.layer_norm == "before":
            x = self.bottleneck_norm[name](x)
        update: Tensor = self.bottleneck_up[name](FUNCTIONS[settings.non_linearity](down(x)))
        if settings.scaling != 1:
            update = update * settings.scaling
        return self.bottleneck_norm[name](update) if settings.layer_norm == "after" else update


def _begin_matrices(down: nn.Linear, up: nn.Linear, init: str) -> None:
    """Give both matrices their first numbers (adapters 1.3, `init_weights`)."""
    nn.init.zeros_(down.bias)
    nn.init.zeros_(up.bias)
    if init == "mam":
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        return
    nn.init.normal_(down.weight, std=INITIAL_SPREAD)
    nn.init.normal_(up.weight, std=INITIAL_SPREAD)

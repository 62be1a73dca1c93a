"""AdapterFusion (Pfeiffer et al. 2021, arXiv 2005.00247): attention over several frozen adapters.

The dynamic form: queries from what the adapters read, keys and values from what they make of it. The values'
matrix begins near the identity, and an extra loss keeps it there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tui_tuner.methods.bottlenecks.adapted import (
    INITIAL_SPREAD,
    AdaptedModule,
    ResidualReader,
)
from tui_tuner.methods.bottlenecks.places import Place
from tui_tuner.methods.bottlenecks.settings import FusionConfig
from tui_tuner.methods.bottlenecks.standalone import FUNCTIONS

NEAR_ZERO = 1e-6  # off the diagonal, where the values' matrix begins
PULL = 0.01  # of the extra loss


class FrozenAdapters(nn.Module):
    """Several bottleneck adapters: one matrix for all that lead down, one for all that lead up."""

    def __init__(self, width: int, adapters: list[dict[str, Any]]) -> None:
        super().__init__()
        self.adapters = adapters
        self.sizes = [int(one["size"]) for one in adapters]
        every = sum(self.sizes)
        self.down_weight = nn.Parameter(torch.zeros(every, width), requires_grad=False)
        self.down_bias = nn.Parameter(torch.zeros(every), requires_grad=False)
        self.up_weight = nn.Parameter(torch.zeros(width, every), requires_grad=False)
        self.up_bias = nn.Parameter(torch.zeros(len(adapters), width), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """What each adapter makes of x [..., width]: [..., adapters, width]."""
        low = nn.functional.linear(x, self.down_weight, self.down_bias).split(self.sizes, dim=-1)
        up = self.up_weight.split(self.sizes, dim=-1)
        made = []
        for number, told in enumerate(self.adapters):
            inner = FUNCTIONS[str(told["non_linearity"])](low[number])
            high = nn.functional.linear(inner, up[number], self.up_bias[number])
            made.append(high * told["scaling"] if told["scaling"] != 1 else high)
        return torch.stack(made, dim=-2)


class FusionModule(AdaptedModule):
    """Attention over the frozen adapters of one place."""

    adapter_layer_names = ("fusion_query", "fusion_key", "fusion_value")
    other_param_names = ("fusion_adapters",)

    def __init__(self, base_layer: nn.Module, place: Place, reader: ResidualReader | None) -> None:
        super().__init__(base_layer, place, reader)
        self.fusion_query = nn.ModuleDict()
        self.fusion_key = nn.ModuleDict()
        self.fusion_value = nn.ModuleDict()
        self.fusion_adapters = nn.ModuleDict()

    def add_adapter(self, name: str, settings: FusionConfig) -> None:
        """Make the attention, and room for the frozen adapters. Draws from the global seed."""
        width = self.place.width
        query, key = nn.Linear(width, width), nn.Linear(width, width)
        value = nn.Linear(width, width, bias=False)
        for one in (query, key):
            nn.init.normal_(one.weight, std=INITIAL_SPREAD)
            nn.init.zeros_(one.bias)
        with torch.no_grad():
            value.weight.fill_(NEAR_ZERO).fill_diagonal_(1.0)
        self.fusion_query[name], self.fusion_key[name], self.fusion_value[name] = query, key, value
        self.fusion_adapters[name] = FrozenAdapters(width, settings.adapters)
        self._move_adapter_to_device_of_base_layer(name)
        self.set_adapter(self.active_adapters, inference_mode=settings.inference_mode)

    def compute_update(self, name: str, x: Tensor) -> Tensor:
        query = self.fusion_query[name]
        x = self._cast_input_dtype(x, query.weight.dtype)
        made = self.fusion_adapters[name](x)
        scores = self.fusion_key[name](made).matmul(query(x).unsqueeze(-1)).squeeze(-1)
        weights = torch.softmax(scores, dim=-1)
        values = self.fusion_value[name](made)
        update: Tensor = weights.to(values.dtype).unsqueeze(-2).matmul(values).squeeze(-2)
        return update

    def measure_pull(self) -> Tensor | None:
        """Return how far the values' matrices being trained are from the identity, squared and summed."""
        found = None
        for one in self.fusion_value.values():
            if one.weight.requires_grad:
                apart = one.weight - torch.eye(
                    len(one.weight), device=one.weight.device, dtype=one.weight.dtype
                )
                found = apart.square().sum() if found is None else found + apart.square().sum()
        return found

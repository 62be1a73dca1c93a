"""The weights of a model that bitsandbytes saved in 4 or 8 bits, as ordinary numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ModelError
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.tensors import TensorForm
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

# Ends of the names of what bitsandbytes keeps beside a weight
_STATE, _SCALES, _FORMAT = ".quant_state.bitsandbytes__", ".SCB", ".weight_format"
_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class DequantisedFiles:
    """The tensors of such a folder; see `tensors.TensorReader`.

    Raises:
        ModelError: another program quantised it.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._files = WeightFiles(folder)
        self.folder, self.shards = folder, self._files.shards
        told = config.get("quantization_config")
        if not isinstance(told, dict) or told.get("quant_method") != "bitsandbytes":
            method = told.get("quant_method") if isinstance(told, dict) else told
            raise ModelError(
                _(
                    "its weights are quantised by {method}, which is not undone here.",
                    method=one_line(method, 40),
                ),
                where=one_line(folder, 300),
                hint=_("Name a folder with the original weights: --base FOLDER; or export --to adapter."),
            )
        self._wide = _TYPES.get(str(config.get("dtype") or config.get("torch_dtype")), "BF16")
        self._packed = self._find_packed()
        self.forms: dict[str, TensorForm] = {}
        for name, form in self._files.forms.items():
            if name in self._packed:
                self.forms[name] = TensorForm(self._wide, self._find_shape(name))
            elif not self._is_beside(name):
                self.forms[name] = form

    @property
    def largest_shard(self) -> int:
        return self._files.largest_shard

    def read_tensor(self, name: str) -> Tensor:
        from tui_tuner.exporting.tensors import find_torch_type

        if name not in self._packed:
            return self._files.read_tensor(name)
        dtype: Any = find_torch_type(self._wide)
        if self._packed[name] == _SCALES:
            scales = self._files.read_tensor(_replace_end(name, _SCALES))
            return (self._files.read_tensor(name).float() * scales.float()[:, None] / 127).to(dtype)
        from bitsandbytes.functional import QuantState, dequantize_4bit

        parts = {one: self._files.read_tensor(one) for one in self._files.forms if one.startswith(f"{name}.")}
        state = QuantState.from_dict(parts, device="cpu")
        found: Tensor = dequantize_4bit(self._files.read_tensor(name), state)
        return found.reshape(self.forms[name].shape).to(dtype)

    def _find_packed(self) -> dict[str, str]:
        """Return how each quantised weight is stored, by its name."""
        found = {}
        for name in self._files.forms:
            if _STATE in name:
                found[name.partition(_STATE)[0]] = _STATE
            elif name.endswith(_SCALES):
                found[f"{name.removesuffix(_SCALES)}.weight"] = _SCALES
        return found

    def _is_beside(self, name: str) -> bool:
        packed = any(name.startswith(f"{weight}.") for weight in self._packed)
        return packed or name.endswith((_SCALES, _FORMAT))

    def _find_shape(self, name: str) -> tuple[int, ...]:
        if self._packed[name] == _SCALES:
            return self._files.forms[name].shape
        state = next(one for one in self._files.forms if one.startswith(f"{name}{_STATE}"))
        told = json.loads(bytes(self._files.read_tensor(state).tolist()).decode())
        return tuple(int(size) for size in told["shape"])


def _replace_end(weight: str, end: str) -> str:
    return weight.removesuffix(".weight") + end

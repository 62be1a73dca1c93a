"""The safetensors files of a model folder, read one tensor at a time without mapping them into memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_tuner.errors import ModelError
from tui_tuner.exporting.tensors import WIDTHS, TensorForm, find_torch_type
from tui_tuner.locales import _
from tui_tuner.models.lookup import read_config_json, read_safetensors_header
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class _Place(NamedTuple):
    path: Path
    begin: int
    end: int


class WeightFiles:
    """The weights of one folder.

    Args:
        paths: Its files, where they are not those that transformers would load.

    Mapped files would count as memory of this process, so tensors are read with `pread`.

    Raises:
        ModelError: a file is missing, damaged, or of a type that is unknown here.
    """

    def __init__(self, folder: Path, paths: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.forms: dict[str, TensorForm] = {}
        self.shards: dict[str, str] = {}  # the file of each tensor
        self._places: dict[str, _Place] = {}
        for path in paths or list_weight_paths(folder):
            self._note_file(path)

    @property
    def largest_shard(self) -> int:
        """Return the bytes of the largest file."""
        return max((self.folder / name).stat().st_size for name in set(self.shards.values()))

    def _note_file(self, path: Path) -> None:
        header = read_safetensors_header(path)
        with path.open("rb") as file:
            begin = 8 + int.from_bytes(file.read(8), "little")
        for name, told in sorted(header.items(), key=lambda one: one[1]["data_offsets"][0]):
            form = self._read_form(path, name, told)
            first, end = told["data_offsets"]
            if end - first != form.bytes or begin + end > path.stat().st_size:
                raise _refuse_file(path, _("is damaged: {name} has another size than its header says.",
                                           name=one_line(name, 80)))  # fmt: skip
            self.forms[name] = form
            self.shards[name] = path.name
            self._places[name] = _Place(path, begin + first, begin + end)

    def _read_form(self, path: Path, name: str, told: dict[str, Any]) -> TensorForm:
        if told["dtype"] not in WIDTHS:
            raise _refuse_file(
                path,
                _("{name} is of the type {kind}, which is unknown here.",
                  name=one_line(name, 80), kind=one_line(told["dtype"], 20)),
            )  # fmt: skip
        return TensorForm(told["dtype"], tuple(told["shape"]))

    def read_tensor(self, name: str) -> Tensor:
        import torch

        place, form = self._places[name], self.forms[name]
        dtype: Any = find_torch_type(form.dtype)
        if not form.numbers:
            return torch.empty(form.shape, dtype=dtype)
        data = torch.empty(place.end - place.begin, dtype=torch.uint8)
        view = memoryview(data.numpy())
        descriptor = os.open(place.path, os.O_RDONLY)
        try:
            done = 0
            while done < len(view):
                got = os.preadv(descriptor, [view[done:]], place.begin + done)
                if got <= 0:
                    raise _refuse_file(place.path, _("ended before all of it was read."))
                done += got
        finally:
            os.close(descriptor)
        return data.view(dtype).reshape(form.shape)


def list_weight_paths(folder: Path) -> list[Path]:
    """List the files that transformers loads a model's weights from.

    Raises:
        ModelError: one that the index names is missing, or there are none.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        found = read_config_json(folder / INDEX).get("weight_map")
        # Only the names count, so that an index from elsewhere cannot point out of its folder
        names = sorted({Path(str(name)).name for name in found.values()}) if isinstance(found, dict) else []
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    for name in names:
        if not (folder / name).is_file():
            raise _refuse_file(folder / name, _("is missing, though the index names it."))
    if not names:
        raise _refuse_file(folder, _("holds no weights in safetensors."))
    return [folder / name for name in names]


def _refuse_file(path: Path, what: str) -> ModelError:
    return ModelError(what, where=one_line(path, 300), hint=_("Copy or fetch the model again."))

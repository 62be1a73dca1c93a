"""Weights of a folder of safetensors, read one at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"


class WeightSource(Protocol):
    """Weights by name, none of which is in memory before it is asked for."""

    shapes: Mapping[str, tuple[int, ...]]

    def read_tensor(self, name: str) -> Tensor:
        """Return one weight."""
        ...


class FolderWeights:
    """The weights of a folder with one or several files of safetensors.

    Raises:
        ModelError: it has none, or one of the files is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self._files: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in _list_files(folder):
            try:
                # files are mapped: a weight takes memory only while it is held
                opened = safe_open(path, framework="pt")
                for name in opened.keys():  # noqa: SIM118 (no mapping)
                    self._files[name] = opened
                    self.shapes[name] = tuple(opened.get_slice(name).get_shape())
            except (OSError, SafetensorError) as error:
                raise ModelError(
                    _("cannot be read: {problem}.", problem=one_line(error, 200)),
                    where=one_line(path),
                    hint=_("Copy or download the model again."),
                ) from None

    def read_tensor(self, name: str) -> Tensor:
        """Return one weight."""
        weight: Tensor = self._files[name].get_tensor(name)
        return weight


def _list_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            raise ModelError(_("is damaged."), where=one_line(index)) from None
        return [folder / Path(str(name)).name for name in sorted(names, key=str)]
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    raise ModelError(
        _("has no weights in safetensors."),
        where=one_line(folder),
        hint=_("`tui-tuner export` writes such a folder with `--to merged`."),
    )

"""Make delta weights: what a result's tensors are more than those of its base model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.exporting.deltas.coding import FLOATS, code_difference, fit_rows
from tui_tuner.exporting.deltas.hashing import hash_tensor, hash_weights, join_hashes
from tui_tuner.exporting.merging.shard_writer import StreamedFile
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.tensors import TensorForm, TensorReader, name_safetensors_type

if TYPE_CHECKING:
    from torch import Tensor

TOLD = "delta.json"
FILES = "result-files"  # a folder in that of a delta: configs and tokenizer of the result
VERSION = 1


@dataclass(frozen=True)
class DeltaPlan:
    """How each tensor of a result is stored.

    Args:
        same: Tensors that the base has as they are: nothing is stored.
        added: Tensors that are added to those of the base.
        whole: Tensors that the base does not have, or in another shape: stored as they are.
        dropped: Tensors of the base that the result does not have.
    """

    same: tuple[str, ...]
    added: tuple[str, ...]
    whole: tuple[str, ...]
    dropped: tuple[str, ...]


def can_add(base: TensorForm | None, result: TensorForm) -> bool:
    """Return whether a tensor of a result is one of the base with other numbers, or with more rows."""
    return (
        base is not None
        and result.dtype in FLOATS
        and base.dtype in FLOATS
        and len(base.shape) == len(result.shape)
        and base.shape[1:] == result.shape[1:]
        and base.shape[0] <= result.shape[0]
        and len(result.shape) > 0
    )


def make_delta(
    base: WeightFiles,
    result: TensorReader,
    folder: Path,
    names: Mapping[str, str],
    most: int,
    say: Callable[[int, int], None] = lambda *_: None,
    check: Callable[[], None] = lambda: None,
) -> DeltaPlan:
    """Write the delta of a result into a folder, one tensor at a time.

    Args:
        names: The base model's `name` and `revision`, to be told to whoever applies the delta.
        most: The most bytes of a file of weights.
        say: Called with the bytes of the result that are done, and those of all.
        check: Called before each tensor; it raises to stop.
    """
    bases = hash_weights(base, check=check)
    hashes: dict[str, str] = {}
    kinds: dict[str, list[str]] = {"same": [], "added": [], "whole": []}
    total, done = sum(form.bytes for form in result.forms.values()), 0
    writer = _PartsWriter(folder, most)
    for name, form in result.forms.items():
        check()
        tensor = result.read_tensor(name)
        hashes[name] = hash_tensor(name, form, tensor)
        own = base.forms.get(name)
        if hashes[name] == bases.get(name):
            kinds["same"].append(name)
        elif own is not None and can_add(own, form):
            kinds["added"].append(name)
            coded = code_difference(fit_rows(base.read_tensor(name), form.shape[0]), tensor)
            writer.add_parts({f"{name}{end}": part for end, part in coded.parts.items()})
        else:
            kinds["whole"].append(name)
            writer.add_parts({name: tensor})
        done += form.bytes
        say(done, total)
    files = writer.finish()
    dropped = [name for name in base.forms if name not in result.forms]
    told = {
        "version": VERSION,
        "base": {**names, "sha256": join_hashes(bases)},
        "result": {"sha256": join_hashes(hashes)},
        "tensors": {
            name: {"how": how, "sha256": hashes[name]} for how, found in kinds.items() for name in found
        },
        "order": list(result.forms),
        "dropped": dropped,
        "files": files,
    }
    # Last: a folder without it is no delta
    (folder / TOLD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return DeltaPlan(tuple(kinds["same"]), tuple(kinds["added"]), tuple(kinds["whole"]), tuple(dropped))


class _PartsWriter:
    """Writes parts of a delta into files of at most so many bytes, each part as soon as it is made.

    The header of a safetensors file comes before its data, and how many corrections a tensor needs is known
    only once it is computed; so each tensor's parts have files of their own until a file is full.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._spool = folder / ".parts"
        self._spool.mkdir(exist_ok=True)
        self._waiting: list[tuple[str, TensorForm, Path]] = []
        self._filled = 0
        self._files: list[Path] = []

    def add_parts(self, parts: Mapping[str, Tensor]) -> None:
        for name, tensor in parts.items():
            form = TensorForm(name_safetensors_type(tensor.dtype), tuple(tensor.shape))
            if self._waiting and self._filled + form.bytes > self._most:
                self._flush()
            path = self._spool / str(len(self._waiting))
            _write_bytes(path, tensor)
            self._waiting.append((name, form, path))
            self._filled += form.bytes

    def finish(self) -> list[str]:
        """Write what is left, and give all files their names; return these."""
        if self._waiting or not self._files:
            self._flush()
        self._spool.rmdir()
        count, names = len(self._files), []
        for place, path in enumerate(self._files, start=1):
            name = f"delta-{place:05}-of-{count:05}.safetensors"
            path.rename(self._folder / name)
            names.append(name)
        return names

    def _flush(self) -> None:
        path = self._folder / f".delta-{len(self._files)}"
        with StreamedFile(path, {name: form for name, form, _part in self._waiting}) as file:
            for name, _form, part in self._waiting:
                file.write_from(name, part)
                part.unlink()
        self._files.append(path)
        self._waiting, self._filled = [], 0


def _write_bytes(path: Path, tensor: Tensor) -> None:
    import torch

    with path.open("wb") as file:
        if tensor.numel():
            file.write(memoryview(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()))

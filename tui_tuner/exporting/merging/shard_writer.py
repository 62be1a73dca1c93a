"""Write safetensors files tensor by tensor, so that no file is ever in memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tui_tuner.exporting.merging.weight_files import INDEX, SINGLE
from tui_tuner.exporting.tensors import TensorForm, TensorReader, count_bytes, name_safetensors_type

_PIECE = 16 << 20  # bytes that are copied at a time
_ALIGNED = 8  # bytes: where data begins, as the format asks


def plan_shards(forms: Mapping[str, TensorForm], most: int) -> list[list[str]]:
    """Deal tensors, in their order, into files of at most so many bytes; a larger tensor has its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, form in forms.items():
        if shards[-1] and filled + form.bytes > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += form.bytes
    return shards


def write_shards(
    reader: TensorReader,
    folder: Path,
    most: int,
    say: Callable[[int, int], None] = lambda *_: None,
    check: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Write all tensors of a reader into a folder as transformers names them, with an index if they are many.

    Args:
        most: The most bytes of a file.
        say: Called with the bytes written and those of all files.
        check: Called before each tensor; it raises to stop.
    """
    shards = plan_shards(reader.forms, most)
    total, done = count_bytes(reader), 0
    written: list[Path] = []
    weight_map: dict[str, str] = {}
    for place, names in enumerate(shards, start=1):
        one = SINGLE if len(shards) == 1 else f"model-{place:05}-of-{len(shards):05}.safetensors"
        with StreamedFile(folder / one, {name: reader.forms[name] for name in names}) as file:
            for name in names:
                check()
                file.write_tensor(name, reader.read_tensor(name))
                done += reader.forms[name].bytes
                weight_map[name] = one
                say(done, total)
        written.append(folder / one)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return written


class StreamedFile:
    """A safetensors file whose tensors are written in the order of its header.

    Args:
        path: The new file.
        forms: Name and form of each tensor.
        metadata: Texts for the header.
    """

    def __init__(
        self, path: Path, forms: Mapping[str, TensorForm], metadata: Mapping[str, str] | None = None
    ):
        self._path, self._forms = path, dict(forms)
        self._waiting = list(forms)
        self._metadata = dict(metadata or {"format": "pt"})

    def __enter__(self) -> StreamedFile:
        header: dict[str, object] = {"__metadata__": self._metadata}
        end = 0
        for name, form in self._forms.items():
            header[name] = {
                "dtype": form.dtype,
                "shape": list(form.shape),
                "data_offsets": [end, end + form.bytes],
            }
            end += form.bytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNED)
        self._file = self._path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)
        return self

    def write_from(self, name: str, path: Path) -> None:
        """Write the next tensor from a file that holds its bytes alone."""
        if self._waiting.pop(0) != name or path.stat().st_size != self._forms[name].bytes:
            raise ValueError(f"{name} is not the next tensor of {self._path.name}, or of another size")
        with path.open("rb") as source:
            shutil.copyfileobj(source, self._file, _PIECE)

    def write_tensor(self, name: str, tensor: object) -> None:
        """Write the next tensor.

        Raises:
            ValueError: it is not the one, or not of the form, that the header says.
        """
        import torch

        assert isinstance(tensor, torch.Tensor)
        form = self._forms[name]
        if self._waiting.pop(0) != name:
            raise ValueError(f"{name} is not the next tensor of {self._path.name}")
        found = TensorForm(name_safetensors_type(tensor.dtype), tuple(tensor.shape))
        if found != form:
            raise ValueError(f"{name} is {found}, and the header says {form}")
        if form.numbers:
            flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            self._file.write(memoryview(flat.numpy()))

    def __exit__(self, kind: object, *_unused: object) -> None:
        try:
            if kind is None:
                if self._waiting:
                    raise ValueError(f"{self._path.name} lacks {self._waiting[0]}")
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

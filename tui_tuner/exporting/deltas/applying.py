"""Apply delta weights to the base model that they were made against."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import DiskFullError, ModelError
from tui_tuner.exporting import room
from tui_tuner.exporting.deltas.coding import BITS, PLACES, VALUES, decode_difference, fit_rows
from tui_tuner.exporting.deltas.hashing import hash_tensor, hash_weights, join_hashes
from tui_tuner.exporting.deltas.making import FILES, TOLD, VERSION
from tui_tuner.exporting.merging.shard_writer import write_shards
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.target import SHARD_BYTES, ExportCancelled
from tui_tuner.exporting.tensors import TensorForm
from tui_tuner.locales import _
from tui_tuner.models.tiny import find_tiny_folder
from tui_tuner.text import one_line
from tui_tuner.training.keeping.checkpoints import is_disk_full

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 256 << 20  # bytes of delta.json
_ENDS = (PLACES, VALUES, BITS)


def apply_delta(
    base: str,
    delta: str,
    output: Path,
    say: Callable[[dict[str, Any]], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, Any]:
    """Write the result of a base model and its delta into a new folder, tensor by tensor; return its facts.

    Args:
        base: A folder, or the id of a hub's model on this machine.
        delta: The folder of the delta.

    Raises:
        ModelError: the base is another one than the delta was made against, or a file is damaged.
        UsageError: the output is there already.
        DiskFullError: the disk has no room.
        ExportCancelled: it was stopped; nothing is left.
    """
    room.check_output(output)
    place = Path(delta).expanduser()
    told = read_delta(place)
    files = WeightFiles(find_base_folder(base))
    parts = _open_parts(place, told)

    def check() -> None:
        if cancelled():
            raise ExportCancelled

    def tell(doing: str) -> Callable[[int, int], None]:
        return lambda done, total: say({"doing": doing, "done": done, "total": total, "unit": "bytes"})

    found = join_hashes(hash_weights(files, tell(_("reading the base model")), check))
    if found != told["base"]["sha256"]:
        raise _refuse_base(base, told, found)
    applied = AppliedTensors(files, parts, told)
    room.check_room(output, sum(form.bytes for form in applied.forms.values()))
    partial = room.begin_folder(output)
    try:
        write_shards(applied, partial, shard_bytes, tell(_("writing weights")), check)
        if join_hashes(applied.hashes) != told["result"]["sha256"]:
            raise _refuse_delta(place, _("its result has another hash than it should have."))
        for path in sorted((place / FILES).iterdir()):
            shutil.copyfile(path, partial / path.name)
    except BaseException as error:
        full = isinstance(error, Exception) and is_disk_full(error)
        shutil.rmtree(partial, ignore_errors=True)
        if full:
            raise DiskFullError(_("no room left on the disk."), where=one_line(output, 300)) from error
        raise
    room.finish_folder(partial, output)
    return {"folder": str(output), "sha256": told["result"]["sha256"], "base_sha256": found}


class AppliedTensors:
    """The tensors of a result, each made from the base's and the delta's; see `tensors.TensorReader`.

    Attributes:
        hashes: The hash of each tensor that was read.
    """

    def __init__(
        self, base: WeightFiles, parts: Mapping[str, tuple[WeightFiles, str]], told: Mapping[str, Any]
    ):
        self._base, self._parts, self._told = base, parts, told["tensors"]
        self.hashes: dict[str, str] = {}
        self.forms: dict[str, TensorForm] = {}
        for name in told["order"]:
            same = self._told[name]["how"] == "same"
            source = base.forms if same else parts[name][0].forms
            self.forms[name] = source[name]

    def read_tensor(self, name: str) -> Tensor:
        how = self._told[name]["how"]
        if how == "same":
            found = self._base.read_tensor(name)
        else:
            found = self._read_part(name)
            if how == "added":
                more = {end: self._read_part(name + end) for end in _ENDS if name + end in self._parts}
                rows = fit_rows(self._base.read_tensor(name), found.shape[0])
                found = decode_difference(rows, {"": found, **more})
        self.hashes[name] = hash_tensor(name, self.forms[name], found)
        if self.hashes[name] != self._told[name]["sha256"]:
            raise ModelError(
                _(
                    "{name} has another hash than it should have: the delta is damaged.",
                    name=one_line(name, 120),
                ),
                where="--apply-delta",
                hint=_("Copy the delta again."),
            )
        return found

    def _read_part(self, name: str) -> Tensor:
        files, own = self._parts[name]
        return files.read_tensor(own)


def read_delta(place: Path) -> dict[str, Any]:
    """Read `delta.json`.

    Raises:
        ModelError: there is none, or it is damaged or of a later version.
    """
    path = place / TOLD
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        told = json.loads(path.read_text(encoding="utf-8"))
        right = (
            told["version"] == VERSION
            and isinstance(told["base"]["sha256"], str)
            and isinstance(told["result"]["sha256"], str)
            and set(told["order"]) == set(told["tensors"])
            and all(one["how"] in ("same", "added", "whole") for one in told["tensors"].values())
            and all(Path(name).name == name for name in told["files"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        right = False
    if not right:
        raise _refuse_delta(place, _("holds no whole {file}, so it is no delta.", file=TOLD))
    return dict(told)


def _open_parts(place: Path, told: Mapping[str, Any]) -> dict[str, tuple[WeightFiles, str]]:
    files = WeightFiles(place, [place / name for name in told["files"]])
    found = {name: (files, name) for name in files.forms}
    lacking = [name for name, one in told["tensors"].items() if one["how"] != "same" and name not in found]
    if lacking:
        raise _refuse_delta(place, _("lacks {name}.", name=one_line(lacking[0], 120)))
    if not (place / FILES).is_dir():
        raise _refuse_delta(place, _("lacks its folder {folder}.", folder=FILES))
    return found


def find_base_folder(base: str) -> Path:
    """Return the folder of a base model, given as a folder or as a model of a hub that is on this machine.

    Raises:
        ModelError: it is neither.
    """
    path = Path(base).expanduser()
    if path.is_dir():
        return path
    own = find_tiny_folder(base)
    if own is not None:
        return own
    from tui_tuner.models.hub.hf_store import find_cached_snapshot

    name, _at, revision = base.partition("@")
    found = find_cached_snapshot(name, revision or None)
    if found is None:
        raise ModelError(
            _("is no folder, and no model of a hub that is on this machine."),
            where=one_line(base, 300),
            hint=_("Fetch it with `tui-tuner models fetch`, or name its folder."),
        )
    return found


def _refuse_base(base: str, told: Mapping[str, Any], found: str) -> ModelError:
    name, revision = str(told["base"].get("name") or ""), str(told["base"].get("revision") or "")
    wanted = f"{name}@{revision}" if revision else name
    return ModelError(
        _("has the hash {found}, and the delta was made against {name} with the hash {wanted}.",
          found=found, name=one_line(wanted, 120), wanted=one_line(told["base"]["sha256"], 64)),
        where=one_line(base, 300),
        hint=_("Take the base model of that revision."),
    )  # fmt: skip


def _refuse_delta(place: Path, what: str) -> ModelError:
    return ModelError(what, where=one_line(place, 300), hint=_("Make the delta again, or copy it again."))

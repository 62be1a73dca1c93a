"""Keep the folder `best` in step with a run's counters.

The folder is written when an evaluation finds a better model, and the counters that name it
(`Progress.best_step`) come to the disk with the next checkpoint. In between, a kill or a rollback takes the
run back to counters that name another model. So the folder itself records its evaluation, and the folder that
the last checkpoint names is kept next to it until a later checkpoint names the new one:

| the run goes back to its last checkpoint    | `best` | next to it   | named | what is done          |
|---------------------------------------------|--------|--------------|-------|-----------------------|
| before the new folder is in its place       | old    | -            | old   | nothing               |
| when the old one was moved away             | -      | `.best.old`  | old   | moved back            |
| when the new one has its place              | new    | `.best.old`  | old   | moved back            |
| before the next checkpoint is whole         | new    | `.best.kept` | old   | moved back            |
| the same, and there was none before         | new    | -            | -     | removed               |
| when the next checkpoint is whole           | new    | `.best.kept` | new   | the kept one removed  |
| and the folder was deleted or damaged       | -      | -            | old   | made of a checkpoint, |
|                                             |        |              |       | or given up, with a   |
|                                             |        |              |       | warning               |
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.runs.private_files import read_small_file

STAMP = "evaluation.json"
KEPT = ".best.kept"


@dataclass(frozen=True)
class Stamp:
    """The evaluation that found a model the best: its step, and the value of its metric."""

    step: int
    value: float

    def write_stamp(self, folder: Path, metric: str) -> None:
        """Write the stamp into a folder whose model files are complete."""
        # The sizes let `read_stamp` notice a folder that was cut short, without reading gigabytes.
        files = {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
        content = {"step": self.step, "metric": metric, "value": self.value, "files": files}
        (folder / STAMP).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_stamp(folder: Path) -> Stamp | None:
    """Read which evaluation a folder is of; None if it is of an older version, damaged or incomplete."""
    try:
        content = json.loads(read_small_file(folder / STAMP))
        whole = all((folder / name).stat().st_size == size for name, size in content["files"].items())
        return Stamp(int(content["step"]), float(content["value"])) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def has_model(folder: Path) -> bool:
    """Return whether a folder has weights in safetensors files."""
    return any(folder.glob("*.safetensors"))


def has_stamp(folder: Path, wanted: Stamp) -> bool:
    """Return whether a folder is of this evaluation."""
    found = read_stamp(folder)
    # A folder without a stamp is of an older version, which wrote none: it is taken for the right one.
    return found == wanted or (found is None and not (folder / STAMP).exists() and has_model(folder))


def put_back(best: Path, wanted: Stamp) -> bool:
    """Replace `best` with the kept folder of this evaluation, if there is one; return whether there was."""
    kept = best.with_name(KEPT)
    if read_stamp(kept) != wanted:
        return False
    # A kill between the two renames leaves only `.best.old`, which `restore_checkpoint_folder` puts back.
    old = best.with_name(f".{best.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if best.exists():
        best.rename(old)
    kept.rename(best)
    shutil.rmtree(old, ignore_errors=True)
    return True


def drop_kept(best: Path) -> None:
    """Remove the folder that was kept next to `best`."""
    shutil.rmtree(best.with_name(KEPT), ignore_errors=True)

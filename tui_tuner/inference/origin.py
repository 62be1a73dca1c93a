"""Finds the model that a name means (run, adapter, model folder or hub id) without loading it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tui_tuner.config.deciding import find_task_kind
from tui_tuner.config.load import read_config
from tui_tuner.errors import ModelError, RunError, TunerError, UsageError
from tui_tuner.inference.heads import read_adapter_task, read_model_json, read_model_task
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

Kind = Literal["run", "adapter", "model", "hub"]
ADAPTER = "adapter_config.json"
RESOLVED = "config.resolved.yaml"
BASE = "base"  # instead of a checkpoint: the base model of a run or an adapter
_CHECKPOINT = re.compile(r"best|last|base|step-\d+")
_LARGEST = 1 << 20  # bytes of a JSON file that names a model


@dataclass(frozen=True)
class Origin:
    """A reference to a model, which this or another process can load.

    Args:
        name: The name for the user: of the run, the folder or the hub id.
        path: The folder of the run or model, or the hub id.
        checkpoint: For a run: best, last, step-N; for a run or an adapter also `base`; else empty.
        task: The task it was trained for; sft if unknown.
        revision: The revision of a hub id, if one was given.
        base: Folder or hub id of the base model, if it has moved.
        any_base: Whether to accept a base model with other weights than the adapter was trained on.
    """

    kind: Kind
    name: str
    path: str
    checkpoint: str = ""
    task: str = "sft"
    revision: str = ""
    base: str = ""
    any_base: bool = False

    @property
    def display_label(self) -> str:
        """Return the name, followed by the checkpoint if there is one."""
        return f"{self.name} · {self.checkpoint}" if self.checkpoint else self.name

    def list_origin_values(self) -> dict[str, Any]:
        """Return plain values for another process."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Origin:
        """Rebuild an origin from the values of `list_origin_values`."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


def find_origin(
    name: str,
    runs: RunStore,
    checkpoint: str = "",
    task: str = "",
    *,
    base: str = "",
    any_base: bool = False,
) -> Origin:
    """Find a model by name: a run of `runs` or its folder, a PEFT adapter, a model folder, or a hub id.

    A run takes precedence over a folder of the same name, and a folder over a hub id. `RUN/step-20` is a
    checkpoint of a run, `ID@REVISION` a revision of a hub model.

    Args:
        checkpoint: best, last, step-N or base; empty for the best available one.
        task: For models whose task is known neither from a run nor from their files.
        base, any_base: As in `Origin`, for a run or an adapter.

    Raises:
        UsageError: a checkpoint was named for a model that has none.
        ModelError, RunError: nothing has this name, or it contains no model.
    """
    # `base` and `any_base` only make sense once it is known what the name means
    found = _find_by_name(name, runs, checkpoint, task)
    if found.kind in ("run", "adapter"):
        return replace(found, base=_resolve_base(base), any_base=any_base)
    if base:
        raise UsageError(
            _("{name} is not an adapter, so it has no base model.", name=one_line(name)),
            where="--base",
            hint=_("Leave out --base."),
        )
    return found


def _resolve_base(base: str) -> str:
    """Return the absolute path of a folder; a hub id unchanged."""
    return os.path.abspath(os.path.expanduser(base)) if os.path.isdir(os.path.expanduser(base)) else base


def _find_by_name(name: str, runs: RunStore, checkpoint: str, task: str) -> Origin:
    path = Path(name).expanduser()
    run = _find_run(name, path, runs)
    if run is not None:
        return _make_run_origin(run, checkpoint)
    # With --checkpoint the name must be the run itself, so that two checkpoints cannot contradict each other
    inside = _find_enclosing_run(path, runs)
    if inside is not None and not checkpoint:  # runs/name/best
        return _make_run_origin(*inside)
    if path.is_dir():
        return _make_folder_origin(path, checkpoint, task)
    # Hub ids have exactly one slash; anything else with a slash can only be a path
    if name.startswith((".", "/", "~")) or (name.count("/") != 1 and "/" in name) or path.exists():
        raise ModelError(
            _("is not a run, an adapter or a model."),
            where=one_line(name, 300),
            hint=_("Give a run (`tui-tuner runs` lists them), a folder with config.json, or a hub id."),
        )
    if checkpoint:
        raise _refuse_checkpoint(name)
    # A bare word would be a valid id of old models such as gpt2, but is far more often a mistyped run
    bare = "/" not in name and "@" not in name
    if bare and name not in ("demo", "tiny"):
        raise _refuse_unknown_name(name, runs)
    name, _at, revision = name.partition("@")
    if bare:
        return Origin("model", name, name, task=task or "sft")
    return _make_hub_origin(name, revision, task)


def find_base_origin(origin: Origin) -> Origin:
    """Return the base model of a run or an adapter.

    Raises:
        UsageError: no base model is known.
    """
    if origin.kind in ("run", "adapter"):
        return replace(origin, checkpoint=BASE)
    raise UsageError(
        _("has no base model to compare with."),
        where=one_line(origin.name),
        hint=_("Name another run or model instead."),
    )


def list_loadable_checkpoints(origin: Origin) -> list[str]:
    """List the checkpoints that can be loaded, the best first and `base` last."""
    if origin.kind == "adapter":
        return ["", BASE]
    if origin.kind != "run":
        return [""]
    folder = RunFolder(Path(origin.path))
    final = [
        name for name, place in (("best", folder.best_path), ("last", folder.last_path)) if place.is_dir()
    ]
    steps = [path.name for path in folder.checkpoints_path.glob("step-*") if path.is_dir()]
    steps.sort(key=lambda step: -int(step[5:]) if step[5:].isdigit() else 0)
    return [*final, *steps, BASE]


def read_origin_step(origin: Origin) -> int | None:
    """Return the step of a run's model; None if unknown."""
    if origin.checkpoint.startswith("step-"):
        return int(origin.checkpoint[5:])
    place = Path(origin.path) / origin.checkpoint
    step = read_model_json(place / "evaluation.json").get("step")
    return step if isinstance(step, int) else None


def check_models_write(origins: Iterable[Origin]) -> None:
    """Raise `UsageError` if one cannot chat with one of the models."""
    for one in origins:
        kind = find_task_kind({"task": one.task})
        if kind is not None and not kind.talks:
            said = (
                _("is for task {task}, whose models read each text by itself.", task=one.task)
                if kind.writes
                else _("is for task {task}, whose models do not write text.", task=one.task)
            )
            raise UsageError(
                said,
                where=one_line(one.name),
                hint=_("Ask it about a text with `tui-tuner ask`."),
            )


def _find_run(name: str, path: Path, runs: RunStore) -> RunFolder | None:
    if (path / RESOLVED).is_file() or (path / "events.jsonl").is_file():
        return RunFolder(path)
    try:
        return runs.find_run(name)
    except TunerError:
        return None


def _find_enclosing_run(path: Path, runs: RunStore) -> tuple[RunFolder, str] | None:
    """Return (run, checkpoint) for a path inside a run's folder, or a name such as `RUN/step-20`."""
    if not _CHECKPOINT.fullmatch(path.name):
        return None
    # RUN/best is in the run's folder, RUN/checkpoints/step-20 one level deeper
    for place in (path.parent, path.parent.parent):
        run = _find_run(str(place), place, runs) if place.name else None
        if run is not None and (place == path.parent or path.parent.name == "checkpoints"):
            return run, path.name
    return None


def _make_run_origin(folder: RunFolder, checkpoint: str) -> Origin:
    if not (folder.path / RESOLVED).is_file():
        raise RunError(
            _("has no config.resolved.yaml: the run has not started training."),
            where=one_line(folder.path),
            hint=_("`tui-tuner runs` lists the runs."),
        )
    config = read_config(folder.path / RESOLVED)
    path = os.path.abspath(folder.path)
    found = Origin("run", folder.name, path, checkpoint, config.task)
    known = list_loadable_checkpoints(found)
    # The run has a config but has saved nothing, so its base must be asked for by name
    if not checkpoint and known == [BASE]:
        raise RunError(
            _("has saved no model yet."),
            where=one_line(folder.name),
            hint=_("Wait for its first checkpoint, or resume it; --checkpoint base uses its base model."),
        )
    if checkpoint and checkpoint != BASE and known == [BASE]:
        raise UsageError(
            _("has no checkpoint {which!r}.", which=one_line(checkpoint, 60)),
            where=one_line(folder.name),
            hint=_("It has saved no model yet."),
        )
    if checkpoint and checkpoint not in known:
        raise UsageError(
            _("has no checkpoint {which!r}.", which=one_line(checkpoint, 60)),
            where=one_line(folder.name),
            hint=_("Available: {known}.", known=", ".join(known)),
        )
    return Origin("run", folder.name, path, checkpoint or known[0], config.task)


def _make_folder_origin(path: Path, checkpoint: str, task: str) -> Origin:
    place = os.path.abspath(path)
    if (path / ADAPTER).is_file():
        if checkpoint not in ("", BASE):
            raise _refuse_checkpoint(str(path))
        read_adapter_config(path)
        return Origin("adapter", str(path), place, checkpoint, task or read_adapter_task(path))
    if checkpoint:
        raise _refuse_checkpoint(str(path))
    if not (path / "config.json").is_file():
        raise ModelError(
            _("contains no model: it has neither adapter_config.json nor config.json."),
            where=one_line(path, 300),
            hint=_("Give the folder of a run, a PEFT adapter or a transformers model."),
        )
    return Origin("model", str(path), place, task=task or read_model_task(path))


def _make_hub_origin(name: str, revision: str, task: str) -> Origin:
    """Return a hub model; files on this machine show whether it is an adapter, and its task."""
    from tui_tuner.models.hub.hf_store import find_cached_snapshot

    here = find_cached_snapshot(name, revision or None)
    found = Origin("hub", name, name, task=task or "sft", revision=revision)
    if here is None:
        return found
    if (here / ADAPTER).is_file():
        return Origin("adapter", name, str(here), task=task or read_adapter_task(here), revision=revision)
    return replace(found, task=task or read_model_task(here))


def read_adapter_config(path: Path) -> dict[str, Any]:
    """Read the config of an adapter: `base_model_name_or_path`, `revision`, `peft_type`.

    Raises:
        ModelError: its file is damaged.
    """
    place = path / ADAPTER
    try:
        if place.stat().st_size > _LARGEST:
            raise ValueError("too large")
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("base_model_name_or_path"), str):
        raise ModelError(
            _("is damaged or does not name a base model."),
            where=one_line(place, 300),
            hint=_("Save the adapter again, or copy its folder again."),
        )
    return found


def _refuse_checkpoint(name: str) -> UsageError:
    return UsageError(
        _("is not a run, so it has no checkpoints."), where=one_line(name), hint=_("Leave out --checkpoint.")
    )


def _refuse_unknown_name(name: str, runs: RunStore) -> RunError:
    return RunError(
        _("there is no run, folder or model with this name."),
        where=one_line(name),
        hint=_(
            "Runs are looked up in {runs}; a hub id looks like Qwen/Qwen3-0.6B.", runs=one_line(runs.root)
        ),
    )

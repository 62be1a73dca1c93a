"""Which model one means: a run, an adapter, a model folder or a hub id, found without loading anything."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tui_tuner.config.deciding import kind_of
from tui_tuner.config.load import read_config
from tui_tuner.errors import ModelError, RunError, TunerError, UsageError
from tui_tuner.inference.heads import read_json, task_of_adapter, task_of_model
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

Kind = Literal["run", "adapter", "model", "hub"]
ADAPTER = "adapter_config.json"
RESOLVED = "config.resolved.yaml"
BASE = "base"  # instead of a checkpoint: the model that a run or an adapter began with
_CHECKPOINT = re.compile(r"best|last|base|step-\d+")
_LARGEST = 1 << 20  # bytes of a JSON file that names a model


@dataclass(frozen=True)
class Origin:
    """A model, as one that can be loaded in this process or another.

    Args:
        name: As a user calls it: the run's name, the folder, the hub id.
        path: The run's or the model's folder; a hub id where it is none.
        checkpoint: Of a run: best, last, step-N. For a run and an adapter also `base`; else empty.
        task: That a run trained; sft where only a model is there.
        revision: Of a hub id, where one was given.
        base: Folder or hub id that holds the base model now, where it is not where it was.
        any_base: Whether a base model is taken that has other weights than the adapter was trained on.
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
    def label(self) -> str:
        """For a heading: the name, and the checkpoint where there is one."""
        return f"{self.name} · {self.checkpoint}" if self.checkpoint else self.name

    def plain(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Origin:
        """What `plain` gave."""
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
    """The model of a name: a run of `runs` or its folder, a PEFT adapter, a model folder, or a hub id.

    A run has precedence over a folder here of the same name, and that over a hub id. `RUN/step-20` is a
    checkpoint of a run, `ID@REVISION` a revision of a hub's model.

    Args:
        checkpoint: best, last, step-N or base; empty for the best there is.
        task: For a model that neither a run nor its own files tell the task of.
        base, any_base: As an `Origin` has them, for a run or an adapter.

    Raises:
        UsageError: a checkpoint of what has none.
        ModelError, RunError: there is no such thing, or it holds no model.
    """
    found = _find(name, runs, checkpoint, task)
    if found.kind in ("run", "adapter"):
        return replace(found, base=_whole(base), any_base=any_base)
    if base:
        raise UsageError(
            _("{name} is no adapter, so it has no base model.", name=one_line(name)),
            where="--base",
            hint=_("Leave it out."),
        )
    return found


def _whole(base: str) -> str:
    """A base model as another process finds it."""
    return os.path.abspath(os.path.expanduser(base)) if os.path.isdir(os.path.expanduser(base)) else base


def _find(name: str, runs: RunStore, checkpoint: str, task: str) -> Origin:
    path = Path(name).expanduser()
    run = _find_run(name, path, runs)
    if run is not None:
        return _of_run(run, checkpoint)
    inside = _run_around(path, runs)
    if inside is not None and not checkpoint:  # runs/name/best
        return _of_run(*inside)
    if path.is_dir():
        return _of_folder(path, checkpoint, task)
    if name.startswith((".", "/", "~")) or (name.count("/") != 1 and "/" in name) or path.exists():
        raise ModelError(
            _("is no run, no adapter and no model."),
            where=one_line(name, 300),
            hint=_("Give a run (`tui-tuner runs` lists them), a folder with config.json, or a hub id."),
        )
    if checkpoint:
        raise _no_checkpoints(name)
    bare = "/" not in name and "@" not in name
    if bare and name not in ("demo", "tiny"):
        raise _unknown(name, runs)
    name, _at, revision = name.partition("@")
    if bare:
        return Origin("model", name, name, task=task or "sft")
    return _of_hub(name, revision, task)


def base_of(origin: Origin) -> Origin:
    """The model that another began with.

    Raises:
        UsageError: it began with none that is known.
    """
    if origin.kind in ("run", "adapter"):
        return replace(origin, checkpoint=BASE)
    raise UsageError(
        _("has no base model to be compared with."),
        where=one_line(origin.name),
        hint=_("Name another run or model instead."),
    )


def checkpoints_of(origin: Origin) -> list[str]:
    """What of a run can be loaded, the best first; `base` is the last."""
    if origin.kind == "adapter":
        return ["", BASE]
    if origin.kind != "run":
        return [""]
    folder = RunFolder(Path(origin.path))
    final = [name for name, place in (("best", folder.best), ("last", folder.last)) if place.is_dir()]
    steps = [path.name for path in folder.checkpoints.glob("step-*") if path.is_dir()]
    steps.sort(key=lambda step: -int(step[5:]) if step[5:].isdigit() else 0)
    return [*final, *steps, BASE]


def step_of(origin: Origin) -> int | None:
    """The step that a run's model is of; None where that is not known."""
    if origin.checkpoint.startswith("step-"):
        return int(origin.checkpoint[5:])
    place = Path(origin.path) / origin.checkpoint
    step = read_json(place / "evaluation.json").get("step")
    return step if isinstance(step, int) else None


def check_writes(origins: Iterable[Origin]) -> None:
    """Raise `UsageError` if one of the models writes no text."""
    for one in origins:
        kind = kind_of({"task": one.task})
        if kind is not None and not kind.writes:
            raise UsageError(
                _("trains task {task}, whose model writes no text.", task=one.task),
                where=one_line(one.name),
                hint=_("Ask it about a text with `tui-tuner ask`."),
            )


def _find_run(name: str, path: Path, runs: RunStore) -> RunFolder | None:
    if (path / RESOLVED).is_file() or (path / "events.jsonl").is_file():
        return RunFolder(path)
    try:
        return runs.find(name)
    except TunerError:
        return None


def _run_around(path: Path, runs: RunStore) -> tuple[RunFolder, str] | None:
    """The run and the checkpoint that a path inside a run folder is, or a run's name with a checkpoint's."""
    if not _CHECKPOINT.fullmatch(path.name):
        return None
    for place in (path.parent, path.parent.parent):
        run = _find_run(str(place), place, runs) if place.name else None
        if run is not None and (place == path.parent or path.parent.name == "checkpoints"):
            return run, path.name
    return None


def _of_run(folder: RunFolder, checkpoint: str) -> Origin:
    if not (folder.path / RESOLVED).is_file():
        raise RunError(
            _("has no config.resolved.yaml, so it is no run that has begun to train."),
            where=one_line(folder.path),
            hint=_("`tui-tuner runs` lists the runs."),
        )
    config = read_config(folder.path / RESOLVED)
    path = os.path.abspath(folder.path)
    found = Origin("run", folder.name, path, checkpoint, config.task)
    known = checkpoints_of(found)
    if not checkpoint and known == [BASE]:
        raise RunError(
            _("has saved no model yet."),
            where=one_line(folder.name),
            hint=_(
                "Wait for its first checkpoint, or resume it; --checkpoint base takes what it began with."
            ),
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
            hint=_("It has {known}.", known=", ".join(known)),
        )
    return Origin("run", folder.name, path, checkpoint or known[0], config.task)


def _of_folder(path: Path, checkpoint: str, task: str) -> Origin:
    place = os.path.abspath(path)
    if (path / ADAPTER).is_file():
        if checkpoint not in ("", BASE):
            raise _no_checkpoints(str(path))
        read_adapter(path)
        return Origin("adapter", str(path), place, checkpoint, task or task_of_adapter(path))
    if checkpoint:
        raise _no_checkpoints(str(path))
    if not (path / "config.json").is_file():
        raise ModelError(
            _("holds no model: neither adapter_config.json nor config.json is in it."),
            where=one_line(path, 300),
            hint=_("Give a run's folder, a PEFT adapter or a model of transformers."),
        )
    return Origin("model", str(path), place, task=task or task_of_model(path))


def _of_hub(name: str, revision: str, task: str) -> Origin:
    """A model of a hub; where its files are here, they say what it is."""
    from tui_tuner.models.hub.hf_store import snapshot

    here = snapshot(name, revision or None)
    found = Origin("hub", name, name, task=task or "sft", revision=revision)
    if here is None:
        return found
    if (here / ADAPTER).is_file():
        return Origin("adapter", name, str(here), task=task or task_of_adapter(here), revision=revision)
    return replace(found, task=task or task_of_model(here))


def read_adapter(path: Path) -> dict[str, Any]:
    """What an adapter says of itself: `base_model_name_or_path`, `revision`, `peft_type`.

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
            _("is damaged, or names no base model."),
            where=one_line(place, 300),
            hint=_("Save the adapter again, or copy its folder once more."),
        )
    return found


def _no_checkpoints(name: str) -> UsageError:
    return UsageError(
        _("is no run, so it has no checkpoints."), where=one_line(name), hint=_("Leave --checkpoint out.")
    )


def _unknown(name: str, runs: RunStore) -> RunError:
    return RunError(
        _("no run, folder or model is called so."),
        where=one_line(name),
        hint=_(
            "Runs are looked for in {runs}; a hub id looks like Qwen/Qwen3-0.6B.", runs=one_line(runs.root)
        ),
    )

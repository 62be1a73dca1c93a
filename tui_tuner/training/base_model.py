"""Record which weights a run began with, and check them before its adapter is put onto a base model."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import Command, Hint, build_hint
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.errors import HubError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.fingerprint import fingerprint_weights
from tui_tuner.models.hub.kinds import HUGGINGFACE
from tui_tuner.models.hub.local import find_complete_model
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.models.hub.place import is_model_path
from tui_tuner.runs.private_files import read_small_file
from tui_tuner.text import one_line
from tui_tuner.training.context import RunContext
from tui_tuner.training.origin import find_model_sources

RECORD = "base.json"  # in a run's folder, and next to the adapters that it writes


@dataclass(frozen=True)
class BaseRecord:
    """The base model of a run.

    Args:
        name: Its name in the config.
        revision: The commit, if it is from a hub.
        weights: The `fingerprint` of its weights; empty for random ones.
    """

    name: str = ""
    revision: str = ""
    weights: str = ""

    def format_record(self) -> str:
        """Return the record as the JSON text of its file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def record_base_model(model: ModelSection) -> BaseRecord:
    """Describe the weights that a config names, with a fingerprint if they are on this machine."""
    source = find_model_sources(model)[0]
    # Random weights, and those not on this machine, have no folder to take a fingerprint of.
    weights = fingerprint_weights(Path(source.path)) if source.path and os.path.isdir(source.path) else ""
    return BaseRecord(model.name, source.revision or "", weights)


def read_base_record(folder: Path) -> BaseRecord:
    """Read a folder's record of its base model; empty for an older version or another program."""
    try:
        found: Any = json.loads(read_small_file(folder / RECORD))
        return BaseRecord(**{name: str(found.get(name, "")) for name in BaseRecord.__dataclass_fields__})
    # A damaged record counts as a missing one: it must not keep anyone from using the adapter.
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return BaseRecord()


def keep_base_record(context: RunContext, model: ModelSection) -> None:
    """Record which weights a run begins with; warn if it is resumed with others."""
    kept, found = read_base_record(context.folder.path), record_base_model(model)
    # A resumed run keeps its record: the adapter was begun on those weights, whatever is there now.
    if context.checkpoint is None or not kept.weights:
        context.write_text(RECORD, found.format_record())
    elif found.weights and found.weights != kept.weights:
        context.reporter.report_warning(
            "other_base",
            _(
                "The base model {base} has other weights than when this run began.",
                base=_name_model(found),
            ),
            _("Stop and restore the earlier weights, unless the change is intended."),
        )


def pin_model(model: ModelSection, record: BaseRecord) -> ModelSection:
    """Pin a hub model to the commit that was trained on, if that is on this machine or can be fetched.

    A branch may have moved since. Other files on this machine are used if they have the same weights.
    """
    if (
        not record.revision
        or model.hub != HUGGINGFACE
        or is_model_path(model.name)
        or model.name != record.name
    ):
        return model
    exact = model.model_copy(update={"revision": record.revision})
    if find_complete_model(model.name, record.revision, model.hub) is not None:
        return exact
    here = find_complete_model(model.name, model.revision, model.hub)
    # Offline the commit cannot be fetched; `check_base` compares the weights of what is here later.
    if here is not None and (is_network_offline() or fingerprint_weights(here) == record.weights):
        return model
    return exact


def describe_other_base(name: str) -> dict[str, Any]:
    """Return the config fields for a base model that has moved: a folder, or `id@revision` of a hub."""
    # An existing folder is never split, as its name may have an @ in it.
    bare, _at, revision = name.partition("@") if not os.path.isdir(name) else (name, "", "")
    return {"model.name": bare, "model.revision": revision or None}


def require_base(model: ModelSection, where: str) -> None:
    """Raise unless the base model of an adapter is on this machine or can be fetched.

    Raises:
        ModelError: its folder does not exist.
        HubError: it is on a hub that cannot be reached, and not on this machine.
    """
    name = one_line(model.name, 200)
    if model.architecture is not None or os.path.isdir(Path(model.name).expanduser()):
        return
    if is_model_path(model.name):
        if model.name == "demo" or (not model.name.startswith((".", "/", "~")) and "/" not in model.name):
            return  # it ships with this program
        raise ModelError(
            _("was trained on the model in {base}, but that folder does not exist.", base=name),
            where=where,
            field="model.name",
            hint=_hint_elsewhere(),
        )
    if is_network_offline() and find_complete_model(model.name, model.revision, model.hub) is None:
        revision = f" --revision {one_line(model.revision, 80)}" if model.revision else ""
        fetch = Command(f"`tui-tuner models fetch {name}{revision}`", N_("Fetch a model"))
        raise HubError(
            _(
                "was trained on {base}, which is not on this machine, and there is no network.",
                base=_name_model(BaseRecord(model.name, model.revision or "")),
            ),
            where=where,
            field="model.name",
            hint=build_hint(
                N_("Fetch it with {fetch} once there is one, or name a folder that has it: {base}.",
                   fetch=fetch, base=Command("--base FOLDER", N_("Choose its base model")))
            ),
        )  # fmt: skip


def check_base(model: ModelSection, record: BaseRecord, where: str) -> None:
    """Raise `ModelError` if a base model has other weights than the adapter was trained on."""
    # Adapters of older versions and other programs have no record, so there is nothing to compare.
    if not record.weights:
        return
    found = record_base_model(model)
    if not found.weights or found.weights == record.weights:
        return
    before, now = _name_model(record), _name_model(found)
    if before == now:
        what = _("{base} has other weights than those that the adapter was trained on.", base=now)
    else:
        what = _(
            "{base} has other weights than {before}, which the adapter was trained on.",
            base=now,
            before=before,
        )
    raise ModelError(what, where=where, field="model.name", hint=_hint_other_weights())


def _hint_elsewhere() -> Hint:
    return build_hint(
        N_(
            "Restore it, or name its new location: {base}.",
            base=Command("--base FOLDER", N_("Choose its base model")),
        )
    )


def _hint_other_weights() -> Hint:
    return build_hint(
        N_(
            "Name the right model ({base}), or use this one anyway ({anyway}).",
            base=Command("--base FOLDER", N_("Choose its base model")),
            anyway=Command("--any-base", N_("Take any base model")),
        )
    )


def _name_model(record: BaseRecord) -> str:
    name = one_line(record.name, 200)
    return f"{name}@{one_line(record.revision, 12)}" if record.revision else name

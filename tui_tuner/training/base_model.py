"""Which weights a run began with: taken down when it does, looked at before its adapter is put onto any."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import Command, Hint, advise
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.errors import HubError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.fingerprint import fingerprint
from tui_tuner.models.hub.kinds import HUGGINGFACE
from tui_tuner.models.hub.local import find
from tui_tuner.models.hub.net import is_offline
from tui_tuner.models.hub.place import is_path
from tui_tuner.runs.private import read_file
from tui_tuner.text import one_line
from tui_tuner.training.context import RunContext
from tui_tuner.training.origin import sources

RECORD = "base.json"  # in a run's folder, and beside the adapters that it writes


@dataclass(frozen=True)
class BaseRecord:
    """The base model of a run.

    Args:
        name: As the config calls it.
        revision: The commit, of one of a hub.
        weights: Their `fingerprint`; empty for random ones.
    """

    name: str = ""
    revision: str = ""
    weights: str = ""

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), indent=1) + "\n"


def record_base(model: ModelSection) -> BaseRecord:
    """What there is to say of the weights that a config names, where they are on this machine."""
    source = sources(model)[0]
    weights = fingerprint(Path(source.path)) if source.path and os.path.isdir(source.path) else ""
    return BaseRecord(model.name, source.revision or "", weights)


def read_base(folder: Path) -> BaseRecord:
    """What a folder says of its base model; nothing for one of an older version or another program."""
    try:
        found: Any = json.loads(read_file(folder / RECORD))
        return BaseRecord(**{name: str(found.get(name, "")) for name in BaseRecord.__dataclass_fields__})
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return BaseRecord()


def keep_base(context: RunContext, model: ModelSection) -> None:
    """Take down which weights a run begins with; warn where it is resumed with others."""
    kept, found = read_base(context.folder.path), record_base(model)
    if context.checkpoint is None or not kept.weights:
        context.write(RECORD, found.text())
    elif found.weights and found.weights != kept.weights:
        context.reporter.warn(
            "other_base",
            _(
                "The base model {base} has other weights than when this run began.",
                base=_named(found),
            ),
            _("Stop, and put the former ones back, unless it is meant so."),
        )


def pinned(model: ModelSection, record: BaseRecord) -> ModelSection:
    """The same model of a hub at the commit that was trained on, where that can be had.

    A branch may have moved on since; without the commit, what is here is taken if it has the same weights.
    """
    if not record.revision or model.hub != HUGGINGFACE or is_path(model.name) or model.name != record.name:
        return model
    exact = model.model_copy(update={"revision": record.revision})
    if find(model.name, record.revision, model.hub) is not None:
        return exact
    here = find(model.name, model.revision, model.hub)
    if here is not None and (is_offline() or fingerprint(here) == record.weights):
        return model
    return exact


def other_base(name: str) -> dict[str, Any]:
    """Fields for a base model that is not where it was: a folder, or an id of a hub with its revision."""
    bare, _at, revision = name.partition("@") if not os.path.isdir(name) else (name, "", "")
    return {"model.name": bare, "model.revision": revision or None}


def require_base(model: ModelSection, where: str) -> None:
    """Raise unless the base model of an adapter is here, or may be fetched.

    Raises:
        ModelError: its folder is gone.
        HubError: it is on a hub that cannot be reached, and not on this machine.
    """
    name = one_line(model.name, 200)
    if model.architecture is not None or os.path.isdir(Path(model.name).expanduser()):
        return
    if is_path(model.name):
        if model.name == "demo" or (not model.name.startswith((".", "/", "~")) and "/" not in model.name):
            return  # one that this program brings along
        raise ModelError(
            _("was trained on the model in {base}, and that folder is not there.", base=name),
            where=where,
            field="model.name",
            hint=_elsewhere(),
        )
    if is_offline() and find(model.name, model.revision, model.hub) is None:
        revision = f" --revision {one_line(model.revision, 80)}" if model.revision else ""
        fetch = Command(f"`tui-tuner models fetch {name}{revision}`", N_("Fetch a model"))
        raise HubError(
            _(
                "was trained on {base}, which is not on this machine, and there is no network.",
                base=_named(BaseRecord(model.name, model.revision or "")),
            ),
            where=where,
            field="model.name",
            hint=advise(
                N_("Bring it here with {fetch} where there is one, or name a folder with it: {base}.",
                   fetch=fetch, base=Command("--base FOLDER", N_("Choose its base model")))
            ),
        )  # fmt: skip


def check_base(model: ModelSection, record: BaseRecord, where: str) -> None:
    """Raise `ModelError` where a base model has other weights than the adapter was trained on.

    Of adapters of older versions and other programs nothing is known, and nothing is said.
    """
    if not record.weights:
        return
    found = record_base(model)
    if not found.weights or found.weights == record.weights:
        return
    before, now = _named(record), _named(found)
    if before == now:
        what = _("{base} has other weights than those that the adapter was trained on.", base=now)
    else:
        what = _(
            "{base} has other weights than {before}, which the adapter was trained on.",
            base=now,
            before=before,
        )
    raise ModelError(what, where=where, field="model.name", hint=_other_weights())


def _elsewhere() -> Hint:
    return advise(
        N_(
            "Put it back, or say where it is now: {base}.",
            base=Command("--base FOLDER", N_("Choose its base model")),
        )
    )


def _other_weights() -> Hint:
    return advise(
        N_(
            "Name the right one ({base}), or take this one all the same ({anyway}).",
            base=Command("--base FOLDER", N_("Choose its base model")),
            anyway=Command("--any-base", N_("Take any base model")),
        )
    )


def _named(record: BaseRecord) -> str:
    name = one_line(record.name, 200)
    return f"{name}@{one_line(record.revision, 12)}" if record.revision else name

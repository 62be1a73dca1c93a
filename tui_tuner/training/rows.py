"""The rows of a run: its tokenizer, its examples, and whether a resumed run sees the same ones."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.moment import now, set_moment
from tui_tuner.data.examples import identity
from tui_tuner.data.examples.prepare import Cancelled, Prepared, prepare, texts
from tui_tuner.errors import DataError, RowsError
from tui_tuner.locales import N_, _
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.runs.private import read_file
from tui_tuner.text import listed, one_line
from tui_tuner.training.commands import Stopped
from tui_tuner.training.context import LEARNED, RunContext

TOKENIZER = "tokenizer"
MOMENT = "moment.json"
# The parts of a run's identity, in the order they are named in: what others follow from comes first.
PARTS = {
    "tokenizer": N_("the tokenizer"),
    "splitting": N_("the way the tokenizer splits text"),
    "template": N_("the chat template"),
    "training": N_("the training rows"),
    "validation": N_("the validation rows"),
}


def load_run_tokenizer(context: RunContext, config: RunConfig) -> Any:
    """The tokenizer of a run; one that is learnt from its data is kept in its folder."""
    context.reporter.phase("loading", note=_("tokenizer"))
    tokenizer = _load_tokenizer(context, config)
    set_moment(tokenizer, _moment(context))
    return tokenizer


def _load_tokenizer(context: RunContext, config: RunConfig) -> Any:
    if config.model.tokenizer != "train":
        return load_tokenizer(config.model)
    kept = context.folder.path / TOKENIZER
    if not (kept / "tokenizer.json").is_file():
        from tui_tuner.models.tokenizer_training import train_tokenizer

        context.reporter.phase("tokenizing", note=_("learning a tokenizer"))
        train_tokenizer(texts(config), config.model.vocabulary).save_pretrained(str(kept))
    # as a resumed run will load it
    return load_tokenizer(config.model.model_copy(update={"tokenizer": str(kept)}))


def _moment(context: RunContext) -> datetime:
    """The moment that the run's chats are rendered at: the one it began with."""
    path = context.folder.path / MOMENT
    kept = context.progress.moment
    if not kept and path.is_file():
        try:
            kept = str(json.loads(read_file(path))["rendered_at"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            kept = ""  # no step has been saved, so another moment does no harm
    found = _read_moment(kept) or _moment_of_older(context) or now()
    context.progress.moment = found.isoformat()
    context.write(MOMENT, json.dumps({"rendered_at": found.isoformat()}))
    return found


def _moment_of_older(context: RunContext) -> datetime | None:
    """When a run of version 0.1 began, which kept no moment."""
    created = context.folder.manifest().get("created") if context.checkpoint is not None else None
    return datetime.fromtimestamp(int(created)) if isinstance(created, int | float) else None


def _read_moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def prepare_rows(context: RunContext, config: RunConfig, tokenizer: Any) -> Prepared:
    """Read, clean, tokenise and split the data; every row ends in the ledger.

    Raises:
        DataError, PreflightError: the rows cannot be trained on.
        Stopped: a stop was asked for meanwhile.
    """
    context.reporter.phase("tokenizing")
    stop = context.commands.stop_wanted
    try:
        prepared = prepare(config, tokenizer, context.task, sink=context, cancelled=stop)
    except Cancelled:
        raise Stopped from None
    if not len(prepared.train):
        raise RowsError(
            _("nothing is left to train on."), where=one_line(config.data.path), field="data.path"
        )
    _check_same(context, config, prepared)
    context.write(LEARNED, json.dumps(prepared.learned, indent=1))
    return prepared


# ---- what the run began with ------------------------------------------------------------------------------


def run_identity(prepared: Prepared) -> dict[str, str]:
    """Digests of all that decides which tokens a run trains, and is judged by."""
    import tokenizers

    tokenizer = prepared.tokenizer
    return {
        "tokenizer": identity.vocabulary_identity(tokenizer),
        # how it is written depends on the library, so it is compared within one version
        "splitting": f"{tokenizers.__version__} {identity.splitting_identity(tokenizer)}",
        "template": identity.template_identity(tokenizer),
        "training": identity.rows_identity(prepared.train),
        "validation": identity.rows_identity(prepared.validation),
    }


def _check_same(context: RunContext, config: RunConfig, prepared: Prepared) -> None:
    """Raise `DataError` if a resumed run would train, or be judged by, other tokens than before."""
    found, before = run_identity(prepared), context.progress.identity
    changed = [part for part in PARTS if part in before and _differs(part, before[part], found[part])]
    if not before and context.progress.rows not in ("", _lengths_identity(prepared)):
        changed = ["training"]
    if changed:
        raise DataError(
            _(
                "{parts} are not those the run began with, so it cannot be resumed exactly.",
                parts=listed(_(PARTS[part]) for part in changed),
            ),
            where=_place(config, changed),
            field=_field(config, changed),
            hint=_way_back(changed),
        )
    context.progress.identity = found


def _differs(part: str, before: str, now: str) -> bool:
    if part != "splitting":
        return before != now
    (version, digest), (version_now, digest_now) = before.split(" ", 1), now.split(" ", 1)
    return version == version_now and digest != digest_now


def _lengths_identity(prepared: Prepared) -> str:
    """What version 0.1 knew its rows by."""
    found = hashlib.sha256()
    for array in (prepared.train.lengths, prepared.train.trained_tokens):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def _place(config: RunConfig, changed: list[str]) -> str:
    """The setting that what has changed comes from."""
    model, data = config.model, config.data
    if changed[0] in ("tokenizer", "splitting"):
        return one_line(model.tokenizer or model.name)
    if changed[0] == "template":
        return one_line(model.chat_template or model.tokenizer or model.name)
    if changed == ["validation"] and isinstance(data.validation, str):
        return one_line(data.validation)
    return one_line(data.path)


def _field(config: RunConfig, changed: list[str]) -> str:
    """The field of that setting."""
    if changed[0] == "template" and config.model.chat_template:
        return "model.chat_template"
    if changed[0] in ("tokenizer", "splitting", "template"):
        return "model.tokenizer" if config.model.tokenizer else "model.name"
    held = changed == ["validation"] and isinstance(config.data.validation, str)
    return "data.validation" if held else "data.path"


def _way_back(changed: list[str]) -> str:
    if changed[0] in ("tokenizer", "splitting"):
        return _("Put the old tokenizer's files back, or start a new run.")
    if changed[0] == "template":
        return _("Put the old chat template back, or start a new run.")
    return _("Put the old file back, or start a new run.")

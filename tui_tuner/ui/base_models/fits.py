"""Whether a model can be trained as a draft has it, on the card planned for; from its config alone."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import words_of
from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, facts_from_config, load_facts
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.rows import Row
from tui_tuner.ui.form import at, put

FITS, MISFIT, UNSUITED, UNKNOWN = "fits", "misfit", "unsuited", "unknown"
_MOST_KEPT = 512
_lock = threading.Lock()  # one plan at a time: several would only take the screen's share of the processor
_kept: dict[str, Fit] = {}


@dataclass(frozen=True)
class Fit:
    """The answer for one model.

    Args:
        state: `fits`, `misfit` (memory), `unsuited` (the task cannot use it, or its config makes no sense),
            or `unknown`.
        needs: GiB that have to be free for the run.
        usable: GiB that the card has.
        why: The verdict as a sentence.
        parameters: How many the model has, by its config.
    """

    state: str
    needs: float = 0.0
    usable: float = 0.0
    why: str = ""
    parameters: int | None = None


def draft_with(draft: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A draft with other values, by the dotted names of their fields."""
    changed = copy.deepcopy(dict(draft))
    for path, value in values.items():
        put(changed, path, value)
    return changed


def facts_of(row: Row, config: Mapping[str, Any] | None) -> ModelFacts | None:
    """The shapes of a row's model: from its folder, a hub's config, or known beforehand; or None.

    Raises:
        ModelError: its config cannot be used.
    """
    if row.folder is not None:
        return load_facts(ModelSection(name=str(row.folder)), network=False)
    if config:
        return facts_from_config(config, row.name, f"{one_line(row.name)}/config.json")
    if not row.on_hub:
        return None  # which of the models inside this package it is, depends on the task
    from tui_tuner.models.catalog import find

    shapes = find(row.name) if row.revision is None else None
    return facts_from_config(shapes, row.name, row.name) if shapes is not None else None


def fit_of(
    draft: Mapping[str, Any],
    row: Row,
    card: str,
    root: Path | None,
    config: Mapping[str, Any] | None = None,
) -> Fit:
    """Whether a draft with this model fits the card (empty: this machine). Takes about a tenth of a second.

    Args:
        config: The model's config.json, where a hub gave it.
    """
    changed = draft_with(draft, {"model.name": row.name, "model.architecture": None, "model.revision": None})
    key = json.dumps([changed, card, row.key, str(row.folder), config], sort_keys=True, default=str)
    with _lock:
        if key not in _kept:
            found = _fit(changed, row, card, root, config)
            if found.state == UNKNOWN:
                return found
            while len(_kept) >= _MOST_KEPT:
                del _kept[next(iter(_kept))]
            _kept[key] = found
        return _kept[key]


def _fit(
    draft: dict[str, Any], row: Row, card: str, root: Path | None, config: Mapping[str, Any] | None
) -> Fit:
    from tui_tuner.config.kinds import TASKS
    from tui_tuner.ui import planlook

    try:
        facts = facts_of(row, config)
        if facts is None and row.on_hub:
            return Fit(UNKNOWN, why=_("Its config.json is not here, and no hub has told it yet."))
        task = str(at(draft, "task"))
        kind = TASKS.get(task)
        if facts is not None and facts.encoder and kind is not None and kind.writes:
            why = _("It reads both ways and cannot write, which task {task} needs.", task=one_line(task))
            return Fit(UNSUITED, why=why)
        look = planlook.look(draft, card, root, network=False, facts=facts)
    except TunerError as error:
        state = UNSUITED if isinstance(error, ModelError) or error.field == "model.name" else UNKNOWN
        return Fit(state, why=words_of(error))
    except OSError as error:
        return Fit(UNKNOWN, why=str(error))
    found = look.plan.fit
    return Fit(
        FITS if found.fits else MISFIT,
        found.estimate.upper,
        found.card.usable,
        found.sentence(),
        look.plan.facts.parameters,
    )

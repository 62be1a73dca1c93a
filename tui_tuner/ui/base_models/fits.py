"""Estimates from a model's config whether it can be trained with a draft's settings on the planned GPU."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.guiding.models.fitting import explain_unfit_halves
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts, read_config_facts
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.model_rows import ModelRow
from tui_tuner.ui.form_values import find_draft_value, set_draft_value

FITS, MISFIT, UNSUITED, UNKNOWN = "fits", "misfit", "unsuited", "unknown"
_MOST_KEPT = 512
_lock = threading.Lock()  # one plan at a time: several would slow down the screen
_kept: dict[str, Fit] = {}


@dataclass(frozen=True)
class Fit:
    """Whether one model fits.

    Args:
        state: `fits`, `misfit` (memory), `unsuited` (the task cannot use it, or its config makes no sense),
            or `unknown`.
        needs: GiB that must be free for the run.
        usable: GiB that the GPU has.
        why: The verdict as a sentence.
        parameters: Number of parameters, by the model's config.
    """

    state: str
    needs: float = 0.0
    usable: float = 0.0
    why: str = ""
    parameters: int | None = None


def copy_draft_with(draft: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a draft with other values, by dotted name."""
    changed = copy.deepcopy(dict(draft))
    for path, value in values.items():
        set_draft_value(changed, path, value)
    return changed


def find_row_facts(row: ModelRow, config: Mapping[str, Any] | None) -> ModelFacts | None:
    """Return the shapes of a row's model from its folder, a hub's config or the catalogue; None if unknown.

    Raises:
        ModelError: its config cannot be used.
    """
    if row.folder is not None:
        return load_facts(ModelSection(name=str(row.folder)), network=False)
    if config:
        return read_config_facts(config, row.name, f"{one_line(row.name)}/config.json")
    if not row.on_hub:
        return None  # which embedded model it means depends on the task
    from tui_tuner.models.catalog import find_catalog_config

    # The catalogue holds the newest revision only.
    shapes = find_catalog_config(row.name) if row.revision is None else None
    return read_config_facts(shapes, row.name, row.name) if shapes is not None else None


def find_row_fit(
    draft: Mapping[str, Any],
    row: ModelRow,
    card: str,
    root: Path | None,
    config: Mapping[str, Any] | None = None,
) -> Fit:
    """Return whether a draft with this model fits the GPU (empty: this machine). Takes about 0.1 s.

    Args:
        config: The model's config.json, if a hub sent it.
    """
    changed = copy_draft_with(
        draft, {"model.name": row.name, "model.architecture": None, "model.revision": None}
    )
    key = json.dumps([changed, card, row.key, str(row.folder), config], sort_keys=True, default=str)
    with _lock:
        if key not in _kept:
            found = _compute_fit(changed, row, card, root, config)
            # An unknown fit may become known with the hub's answer, so it is not cached.
            if found.state == UNKNOWN:
                return found
            # A dict keeps insertion order, so this drops the oldest entry.
            while len(_kept) >= _MOST_KEPT:
                del _kept[next(iter(_kept))]
            _kept[key] = found
        return _kept[key]


def _compute_fit(
    draft: dict[str, Any], row: ModelRow, card: str, root: Path | None, config: Mapping[str, Any] | None
) -> Fit:
    from tui_tuner.config.kinds.tasks import TASKS
    from tui_tuner.ui import planlook

    try:
        facts = find_row_facts(row, config)
        if facts is None and row.on_hub:
            return Fit(UNKNOWN, why=_("Its config.json is not on this machine, and no hub has sent it yet."))
        task = str(find_draft_value(draft, "task"))
        kind = TASKS.get(task)
        unfit = explain_unfit_halves(kind, facts) if facts is not None and kind is not None else ""
        if unfit:
            return Fit(UNSUITED, why=unfit)
        if facts is not None and facts.encoder and kind is not None and kind.writes:
            why = _(
                "It is an encoder and cannot generate text, which task {task} needs.", task=one_line(task)
            )
            return Fit(UNSUITED, why=why)
        look = planlook.plan_draft(draft, card, root, network=False, facts=facts)
    except TunerError as error:
        state = UNSUITED if isinstance(error, ModelError) or error.field == "model.name" else UNKNOWN
        return Fit(state, why=format_error_words(error))
    except OSError as error:
        return Fit(UNKNOWN, why=str(error))
    found = look.plan.fit
    return Fit(
        FITS if found.fits else MISFIT,
        found.estimate.safe_limit,
        found.card.usable,
        found.describe_fit(),
        look.plan.facts.parameters,
    )

"""Chooses a model where the answers name none: the first in the ranking for these rows and this machine."""

from __future__ import annotations

import os
from pathlib import Path

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.guiding.data_look import DataLook
from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.models import rank_models
from tui_tuner.guiding.models.candidates import PACKAGE
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import DEMO, Draft
from tui_tuner.locales import _
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.planning.data_facts import DataFacts

CHARACTERS = 4.0  # per token, as no tokenizer is chosen yet
OTHERS = 3  # alternatives that are offered with a toy model


def choose_model(draft: Draft, machine: Machine, budget: Budget, look: DataLook | None, root: Path) -> None:
    """Set the model; add a concern where only the toy model of this package is available."""
    task = str(draft.values["task"])
    if str(draft.values["data.path"]).startswith(DEMO):
        toy = TASKS[task].tiny or DEMO
        draft.set_field(
            "model.name",
            toy,
            _("The small model that goes with these demo rows: included in this package, and fast."),
        )
        return
    # Memory and time depend on the rows, so they are passed on even though their tokens are only estimated
    facts = _estimate_facts(look)
    found = rank_models(
        task,
        data=facts,
        languages=(look.language,) if look and look.language else (),
        machine=machine.asked,
        budget=budget.seconds and f"{budget.seconds:.0f} s",
        # Earlier runs show how fast this machine really is
        root=Path(str(draft.answers.more.get("output.folder", "runs"))),
        stop=draft.stop,
        network=not is_network_offline(),
        folder=root,
    )
    # Where nothing fits, the first one is proposed all the same: the plan then says what would make it fit
    found = [one for one in found if one.fits_machine] or found
    if not found:
        draft.set_field("model.name", TASKS[task].tiny or DEMO, _("No other model is known for this task."))
        return
    first, others = found[0], found[1 : 1 + OTHERS]
    # A model's folder is named relative to here, but the config may be started from another folder
    name = os.path.abspath(first.name) if os.path.isdir(first.name) else first.name
    draft.set_field("model.name", name, first.why)
    if first.source and first.values.get("model.hub"):
        draft.set_field("model.hub", first.values["model.hub"], _("The hub that it comes from."))
    if first.origin == PACKAGE:
        said = _(
            "This machine has no model except the toy model of this package, which only shows how training "
            "works."
        )
        fixes = tuple(
            (_("Take {model}", model=one.short_name), {"model.name": one.name})
            # The toy itself is no way out of having only a toy
            for one in others
            if one.origin != PACKAGE
        )
        draft.add_concerns(
            Concern(
                "toy_model",
                said,
                _("Name a model: a folder, or a model of a hub."),
                fixes=fixes,
                about="model",
            )
        )


def _estimate_facts(look: DataLook | None) -> DataFacts | None:
    """Return counts of the rows, with tokens estimated from the characters read."""
    if look is None or not look.usable:
        return None
    rows = look.rows or look.usable
    mean = look.characters.mean / CHARACTERS if look.characters else 100.0
    return DataFacts(rows, tokens=round(rows * mean))

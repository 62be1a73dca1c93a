"""A model where none was named: the one that is ranked first for these rows and this machine."""

from __future__ import annotations

import os
from pathlib import Path

from tui_tuner.config.kinds import TASKS
from tui_tuner.guiding.data import DataLook
from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.models import rank_models
from tui_tuner.guiding.models.candidates import PACKAGE
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import DEMO, Draft
from tui_tuner.locales import _
from tui_tuner.models.hub.net import is_offline
from tui_tuner.planning.data_facts import DataFacts

CHARACTERS = 4.0  # a token, where no tokenizer is chosen yet
OTHERS = 3  # that are told beside


def choose_model(draft: Draft, machine: Machine, budget: Budget, look: DataLook | None, root: Path) -> None:
    """Settle the model, and say so where only a toy is at hand."""
    task = str(draft.values["task"])
    if str(draft.values["data.path"]).startswith(DEMO):
        toy = TASKS[task].tiny or DEMO
        draft.set("model.name", toy, _("The small model for rows of this package: it is here, and quick."))
        return
    facts = _facts_of(look)
    found = rank_models(
        task,
        data=facts,
        languages=(look.language,) if look and look.language else (),
        machine=machine.asked,
        budget=budget.seconds and f"{budget.seconds:.0f} s",
        root=Path(str(draft.answers.more.get("output.folder", "runs"))),
        stop=draft.stop,
        network=not is_offline(),
        folder=root,
    )
    found = [one for one in found if one.fits] or found
    if not found:
        draft.set("model.name", TASKS[task].tiny or DEMO, _("No other model is known for this task."))
        return
    first, others = found[0], found[1 : 1 + OTHERS]
    name = os.path.abspath(first.name) if os.path.isdir(first.name) else first.name
    draft.set("model.name", name, first.why)
    if first.source and first.values.get("model.hub"):
        draft.set("model.hub", first.values["model.hub"], _("The hub that it is from."))
    if first.origin == PACKAGE:
        said = _(
            "No model is on this machine but the toy of this package, which learns how it works, and no more."
        )
        fixes = tuple(
            (_("Take {model}", model=one.title), {"model.name": one.name})
            for one in others
            if one.origin != PACKAGE
        )
        draft.add(
            Concern(
                "toy_model", said, _("Name a model: a folder, or one of a hub."), fixes=fixes, about="model"
            )
        )


def _facts_of(look: DataLook | None) -> DataFacts | None:
    """Counts of the rows, their tokens guessed from their text."""
    if look is None or not look.usable:
        return None
    rows = look.rows or look.usable
    mean = look.characters.mean / CHARACTERS if look.characters else 100.0
    return DataFacts(rows, tokens=round(rows * mean))

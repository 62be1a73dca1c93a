"""What is trained of a model, and in how many bits it is held: the first way that fits into the memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds import is_tiny
from tui_tuner.config.schema import RunConfig
from tui_tuner.guiding.machine import Machine
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.plan import Plan, plan
from tui_tuner.text import human_count, one_line

SMALL_ENCODER = 500_000_000  # parameters, up to which every weight of an encoder is customarily trained
MUCH_TEXT = 10_000_000  # tokens; of so much, full training learns more than LoRA (arXiv 2405.09673)


@dataclass(frozen=True)
class Way:
    """A method, and the values that go with it."""

    values: Mapping[str, Any]
    why: str


def choose_way(draft: Draft, facts: ModelFacts, data: DataFacts, machine: Machine) -> Plan:
    """Settle the method and the bits of the weights; say so where nothing fits.

    Raises:
        ConfigError: values of the user's own contradict each other.
    """
    ways = list(_ways(draft, facts, data, machine))
    found = first = None
    for way in ways:
        found = plan_of(draft.config(way.values), facts, data, machine)
        first = first or found
        if found.fit.fits or draft.stop():
            break
    else:
        way, found = ways[-1], found or first
    assert found is not None
    for path in ("method.kind", "model.quantization"):
        if path in way.values:
            draft.set(path, way.values[path], _because(way, found) if path == "method.kind" else way.why)
    if not found.fit.fits:
        draft.add(_too_large(found))
    return found


def plan_of(config: RunConfig, facts: ModelFacts, data: DataFacts, machine: Machine) -> Plan:
    """The plan for the machine that was named."""
    from tui_tuner.planning.throughput import measured

    speed = None
    if machine.here:
        speed = measured(config, not machine.card.cpu)
    return plan(config, hardware=machine.hardware, card=machine.card, facts=facts, data=data, speed=speed)


def _ways(draft: Draft, facts: ModelFacts, data: DataFacts, machine: Machine) -> Iterator[Way]:
    """Ways to train this model, the one that is customary first."""
    config = draft.config()
    kind, model = config.task_kind, config.model
    if model.architecture is not None or is_tiny(model.name):
        yield Way({"method.kind": "full"}, _("Its weights are random, so all of them have to learn."))
        return
    whole = kind.decides and facts.encoder and facts.parameters <= SMALL_ENCODER
    much = kind.plain_text and (data.tokens or 0) >= MUCH_TEXT
    if whole and "full" not in kind.without:
        said = _(
            "{parameters} parameters are few: training all of them is customary for encoders "
            "(arXiv 1810.04805).",
            parameters=human_count(facts.parameters),
        )
        yield Way({"method.kind": "full"}, said)
    elif much and "full" not in kind.without:
        said = _(
            "{tokens} tokens of text teach more where every weight may move (arXiv 2405.09673).",
            tokens=human_count(data.tokens or 0),
        )
        yield Way({"method.kind": "full"}, said)
    if "lora" in kind.without:
        if not whole and not much:
            yield Way({"method.kind": "full"}, _("LoRA cannot train this task."))
        return
    said = _(
        "Small matrices beside {parameters} frozen parameters: little memory, small files, and less of what "
        "the model knows is lost.",
        parameters=human_count(facts.parameters),
    )
    yield Way({"method.kind": "lora"}, said)
    if _has_nf4(machine):
        said = _("In 4 bits the weights take a quarter of the memory (QLoRA, arXiv 2305.14314).")
        yield Way({"method.kind": "lora", "model.quantization": "nf4"}, said)


def _has_nf4(machine: Machine) -> bool:
    """Whether weights can be held in 4 bits there: on a GPU, by a package that may be missing here."""
    if machine.here:
        return not machine.card.cpu and importlib.util.find_spec("bitsandbytes") is not None
    return not machine.card.cpu


def _because(way: Way, found: Plan) -> str:
    """Why a way is taken, with the memory that it needs."""
    estimate, card = found.fit.estimate, found.fit.card
    if not found.fit.fits:
        return way.why
    return " ".join(
        (
            way.why,
            _(
                "It takes {wanted:.1f} of {usable:.1f} GiB of {card}.",
                wanted=estimate.device,
                usable=card.usable,
                card=one_line(_(card.name), 40),
            ),
        )
    )


def _too_large(found: Plan) -> Concern:
    """That it does not fit, and what would make it fit."""
    fix = {change.path: change.value for change in found.fit.smallest}
    return Concern(
        "does_not_fit",
        found.fit.sentence(),
        _("Take a smaller model or a larger GPU."),
        stops=found.fit.estimate.allocated > found.fit.card.total,
        fixes=((_("Change what makes it fit"), fix),) if fix else (),
        about="model",
    )

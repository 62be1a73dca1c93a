"""Chooses method and quantization: the first combination that fits into the memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds.methods import DEFAULT_METHOD, WHOLE_METHOD
from tui_tuner.config.kinds.tasks import is_tiny_model
from tui_tuner.config.schema import RunConfig
from tui_tuner.guiding.machine import Machine
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.plan import Plan, plan_run
from tui_tuner.text import format_count, one_line

SMALL_ENCODER = 500_000_000  # parameters; encoders up to this size are usually trained in full
MUCH_TEXT = 10_000_000  # tokens; from here on, full training learns more than LoRA (arXiv 2405.09673)


@dataclass(frozen=True)
class Way:
    """A method with the fields it sets, and why it is offered."""

    values: Mapping[str, Any]
    why: str


def choose_way(draft: Draft, facts: ModelFacts, data: DataFacts, machine: Machine) -> Plan:
    """Set method and quantization; add a concern if nothing fits.

    Raises:
        ConfigError: the user's own values contradict each other.
    """
    ways = list(_list_ways(draft, facts, data, machine))
    found = first = None
    for way in ways:
        found = plan_on_machine(draft.build_config_so_far(way.values), facts, data, machine)
        first = first or found
        # The first way that fits is taken: ways are in the order in which they are recommended
        if found.fit.fits or draft.stop():
            break
    else:
        # Nothing fits: keep the last way, which needs the least memory, and report what is missing
        way, found = ways[-1], found or first
    assert found is not None
    # Written field by field, so that each has a reason of its own on the page
    for path in ("method.kind", "model.quantization"):
        if path in way.values:
            draft.set_field(
                path, way.values[path], _explain_way(way, found) if path == "method.kind" else way.why
            )
    if not found.fit.fits:
        draft.add_concerns(_describe_misfit(found))
    return found


def plan_on_machine(config: RunConfig, facts: ModelFacts, data: DataFacts, machine: Machine) -> Plan:
    """Plan a run on the machine of the answers, with the measured speed if it is this one."""
    from tui_tuner.planning.throughput import find_measured_throughput

    speed = None
    if machine.is_here:
        # Speeds measured by earlier runs are those of this machine, and say nothing about another
        speed = find_measured_throughput(config, not machine.card.cpu)
    return plan_run(config, hardware=machine.hardware, card=machine.card, facts=facts, data=data, speed=speed)


def _list_ways(draft: Draft, facts: ModelFacts, data: DataFacts, machine: Machine) -> Iterator[Way]:
    """Yield ways to train this model, the usual one first and the smallest last."""
    config = draft.build_config_so_far()
    kind, model = config.task_kind, config.model
    # LoRA adapts what a model has learned already, and random weights have learned nothing
    if model.architecture is not None or is_tiny_model(model.name):
        yield Way({"method.kind": WHOLE_METHOD}, _("Its weights are random, so all of them must be trained."))
        return
    small = facts.parameters <= SMALL_ENCODER
    rewrites = kind.encoder_decoder and facts.source is not None
    whole = small and (rewrites or (facts.encoder and not kind.writes))
    much = kind.plain_text and (data.tokens or 0) >= MUCH_TEXT
    if whole and kind.takes_method(WHOLE_METHOD):
        said = _(
            "{parameters} parameters are few: training all of them is usual for encoders (arXiv 1810.04805).",
            parameters=format_count(facts.parameters),
        )
        if rewrites:
            said = _(
                "{parameters} parameters are few: training all of them is usual for such models "
                "(arXiv 1910.10683).",
                parameters=format_count(facts.parameters),
            )
        yield Way({"method.kind": WHOLE_METHOD}, said)
    elif much and kind.takes_method(WHOLE_METHOD):
        said = _(
            "{tokens} tokens of text teach more if every weight is trained (arXiv 2405.09673).",
            tokens=format_count(data.tokens or 0),
        )
        yield Way({"method.kind": WHOLE_METHOD}, said)
    if not kind.takes_method(DEFAULT_METHOD):
        if not whole and not much:
            yield Way({"method.kind": WHOLE_METHOD}, _("LoRA cannot train this task."))
        return
    said = _(
        "Small matrices added to {parameters} frozen parameters: little memory, small files, and less of "
        "what the model knows is forgotten.",
        parameters=format_count(facts.parameters),
    )
    yield Way({"method.kind": DEFAULT_METHOD}, said)
    if _has_nf4(machine):
        said = _("In 4 bits the weights take a quarter of the memory (QLoRA, arXiv 2305.14314).")
        yield Way({"method.kind": DEFAULT_METHOD, "model.quantization": "nf4"}, said)


def _has_nf4(machine: Machine) -> bool:
    """Return whether the machine can hold weights in 4 bits: a GPU, and here bitsandbytes too."""
    if machine.is_here:
        return not machine.card.cpu and importlib.util.find_spec("bitsandbytes") is not None
    return not machine.card.cpu


def _explain_way(way: Way, found: Plan) -> str:
    """Return the reason for a way, with the memory it needs."""
    estimate, card = found.fit.estimate, found.fit.card
    if not found.fit.fits:
        return way.why
    return " ".join(
        (
            way.why,
            _(
                "It needs {wanted:.1f} of the {usable:.1f} GiB of {card}.",
                wanted=estimate.device,
                usable=card.usable,
                card=one_line(_(card.name), 40),
            ),
        )
    )


def _describe_misfit(found: Plan) -> Concern:
    """Report that the run does not fit, with the smallest change that makes it fit."""
    fix = {change.path: change.value for change in found.fit.smallest}
    return Concern(
        "does_not_fit",
        found.fit.describe_fit(),
        _("Choose a smaller model or a larger GPU."),
        # Memory that others occupy now may be free at the start; more than the card has never will be
        stops=found.fit.estimate.allocated > found.fit.card.total,
        fixes=((_("Change these to make it fit"), fix),) if fix else (),
        about="model",
    )

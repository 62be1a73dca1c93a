"""`tui-tuner estimate`: the numbers before a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Sets, say_aside
from tui_tuner.locales import N_
from tui_tuner.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tui_tuner.config.resolved import ResolvedConfig
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts
    from tui_tuner.planning.counting import Counted
    from tui_tuner.planning.duration import Duration
    from tui_tuner.planning.fit import Candidate
    from tui_tuner.planning.gpus import Card
    from tui_tuner.planning.hardware import Hardware
    from tui_tuner.planning.heads.parameters import Parameters
    from tui_tuner.planning.memory.stack import Stack
    from tui_tuner.planning.plan import Surroundings
    from tui_tuner.planning.trace import Check

PATIENCE = 60.0  # seconds of reading rows for the classes in them
Config = Annotated[str, typer.Argument(help=N_("A YAML file, or the name of a preset."), metavar="CONFIG")]
GpuOption = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        help=N_("GPU to plan for: T4, rtx4090, a100-80gb, 24GiB, or several: 2xH100."),
        metavar="NAME",
    ),
]
StackOption = Annotated[
    str | None,
    typer.Option(
        "--stack",
        help=N_("Library versions: transformers==4.48.1,torch==2.4.1, or torchtune==0.5.0"),
        metavar="VERSIONS",
    ),
]


def estimate(
    config: Config,
    gpu: GpuOption = None,
    stack: StackOption = None,
    cards: Annotated[
        bool, typer.Option("--cards", help=N_("Say which of the known GPUs would do the job."))
    ] = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help=N_("Check the figure against the installed libraries (some seconds).")),
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help=N_("Tokenise all data as the run would, for exact counts."))
    ] = False,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Say what a run needs before it starts: memory, learning rate, time, money, and what looks wrong."""
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.launch.beforehand import check_metrics
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning import words
    from tui_tuner.planning.counting import count, count_exactly
    from tui_tuner.planning.estimate import estimate as compute
    from tui_tuner.planning.estimate import resolve_for
    from tui_tuner.planning.fit import fit
    from tui_tuner.planning.gpus import counted_card
    from tui_tuner.planning.hardware import detect
    from tui_tuner.planning.memory.stack import installed, parse_stack
    from tui_tuner.tasks import find_task

    run = load_config(find_preset(config), sets or (), say_aside)
    check_metrics(run)
    hardware = None if gpu else detect()
    card = None if gpu or stack or hardware is None else _own(run, hardware)
    if gpu:
        card, run = counted_card(gpu, run)
    versions = parse_stack(stack) if stack else None
    facts = load_facts(run.model)
    counted = count_exactly(run, find_task(run.task)) if data else count(run, patience=PATIENCE)
    known = counted.facts
    fitted = fit(run, card, facts=facts, stack=versions, data=known) if card else None
    found = fitted.estimate if fitted else compute(run, facts=facts, stack=versions, data=known)
    used = fitted.config if fitted else resolve_for(run, facts, None, versions or installed(), known).config
    around = _around(run, used, facts, counted, card, hardware)
    if around.parameters.doubt:
        around = replace(around, parameters=_on_model(run, facts, counted, around.parameters))
    table = list(_cards(run, facts, versions, counted)) if cards else []
    check = _traced(used, facts, card, versions, counted) if trace else None
    if json:
        import orjson

        report = {**found.to_json(), **words.fit_json(fitted), **words.surroundings_json(around, counted)}
        report |= {"cards": words.cards_json(table)} if cards else {}
        if check:
            report["trace"] = check.to_json()
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    lines = words.memory_lines(found, bool(card and card.cpu))
    lines += words.fit_lines(fitted) if fitted else ["", *words.unfitted_lines(used)]
    lines += ["", check.sentence()] if check else []
    lines += words.card_lines(table) if cards else []
    for line in lines + words.surroundings_lines(around, counted):
        typer.echo(sanitize(line))


def _own(run: RunConfig, hardware: Hardware) -> Card | None:
    """What the run would train on here; None where that is a processor that nobody asked for."""
    from tui_tuner.planning.calibration import calibrated
    from tui_tuner.planning.gpus import card_here

    card = card_here(run, hardware)
    return None if card.cpu and run.hardware.devices != "cpu" else calibrated(card)


def _around(
    run: RunConfig,
    used: ResolvedConfig,
    facts: ModelFacts,
    counted: Counted,
    card: Card | None,
    hardware: Hardware | None,
) -> Surroundings:
    """Learning rate, time, money and advice; `hardware` where past runs of this machine tell the speed."""
    from tui_tuner.planning.plan import surroundings
    from tui_tuner.planning.throughput import measured

    speed = None
    if hardware is not None:
        speed = measured(run, run.hardware.devices != "cpu" and bool(hardware.usable_gpus))
    return surroundings(run, used, facts, counted.facts, card, speed)


def _on_model(run: RunConfig, facts: ModelFacts, counted: Counted, guess: Parameters) -> Parameters:
    """Parameters as the model itself has them, where no table tells."""
    from tui_tuner.launch.counting import count_on_model
    from tui_tuner.tasks import find_task

    task = find_task(run.task)
    return count_on_model(run, facts, counted.facts, guess, task.auto_class, task.peft_type)


def _cards(
    run: RunConfig, facts: ModelFacts, versions: Stack | None, counted: Counted
) -> Iterator[tuple[Candidate, Duration | None]]:
    """The table of GPUs, and how long the run takes on each."""
    from tui_tuner.planning.duration import duration_of
    from tui_tuner.planning.fit import which_cards

    known = counted.facts
    for one in which_cards(run, facts=facts, stack=versions, data=known):
        yield one, duration_of(one.config, facts, known, card=one.card) if known and known.rows else None


def _traced(
    run: ResolvedConfig, facts: ModelFacts, card: Card | None, versions: Stack | None, counted: Counted
) -> Check:
    """Tier 2 for a resolved run."""
    from tui_tuner.launch.tracing import Tracer
    from tui_tuner.planning.estimate import setup_for
    from tui_tuner.planning.memory.stack import installed

    setup = setup_for(run, facts, versions or installed(), card, counted.facts)
    with Tracer() as tracer:
        return tracer.check(setup)

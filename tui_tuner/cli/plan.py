"""`tui-tuner estimate`: the numbers before a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Sets
from tui_tuner.text import sanitize

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts
    from tui_tuner.planning.counting import Counted
    from tui_tuner.planning.estimate import Estimate
    from tui_tuner.planning.fit import Fit
    from tui_tuner.planning.gpus import Card
    from tui_tuner.planning.memory.stack import Stack
    from tui_tuner.planning.plan import Surroundings
    from tui_tuner.planning.trace import Check

Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a preset.", metavar="CONFIG")]
GpuOption = Annotated[
    str | None,
    typer.Option("--gpu", help="GPU to fit into: T4, rtx4090, a100-80gb, or 24GiB.", metavar="NAME"),
]
StackOption = Annotated[
    str | None,
    typer.Option("--stack", help="Library versions: transformers==4.48.1,torch==2.4.1", metavar="VERSIONS"),
]


def estimate(
    config: Config,
    gpu: GpuOption = None,
    stack: StackOption = None,
    cards: Annotated[bool, typer.Option("--cards", help="Say which of the known GPUs would do.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Check the figure against the installed libraries (some seconds).")
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Tokenise all data as the run would, for exact counts.")
    ] = False,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Say what a run needs before it starts: memory, learning rate, time, money, and what looks wrong."""
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning import words
    from tui_tuner.planning.counting import count, count_exactly
    from tui_tuner.planning.estimate import estimate as compute
    from tui_tuner.planning.fit import fit, which_cards
    from tui_tuner.planning.gpus import find_card
    from tui_tuner.planning.memory.stack import parse_stack

    run = load_config(find_preset(config), sets or ())
    card = find_card(gpu) if gpu else None
    versions = parse_stack(stack) if stack else None
    facts = load_facts(run.model)
    counted = count_exactly(run) if data else count(run)
    fitted = fit(run, card, facts=facts, stack=versions) if card else None
    found = fitted.estimate if fitted else compute(run, facts=facts, stack=versions)
    around = _around(run, fitted, found, facts, counted, card)
    table = which_cards(run, facts=facts, stack=versions) if cards else []
    check = _traced(fitted.config if fitted else run, facts, card, versions) if trace else None
    if json:
        import orjson

        report = {**found.to_json(), **words.fit_json(fitted), **words.surroundings_json(around, counted)}
        if cards:
            report["cards"] = [
                {"name": one.name, "usable_gib": one.usable, "fits": fits, "device_gib": there.device}
                for one, fits, there in table
            ]
        if check:
            report["trace"] = {"difference": check.difference, "confirmed": check.confirmed}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    lines = words.memory_lines(found)
    lines += words.fit_lines(fitted) if fitted else []
    lines += ["", check.sentence()] if check else []
    lines += [""] * bool(table) + [
        f"  {one.name:18} {one.usable:6.1f} GiB  {'fits' if fits else 'too small':9}  "
        f"wants {there.upper:7.2f} GiB"
        for one, fits, there in table
    ]
    for line in lines + words.surroundings_lines(around, counted):
        typer.echo(sanitize(line))


def _around(
    run: RunConfig,
    fitted: Fit | None,
    found: Estimate,
    facts: ModelFacts,
    counted: Counted,
    card: Card | None,
) -> Surroundings:
    """Learning rate, time, money and advice; the speed is a measured one only without a named GPU."""
    from tui_tuner.planning.hardware import detect
    from tui_tuner.planning.plan import surroundings
    from tui_tuner.planning.throughput import measured

    resolved = found.resolved.config if found.resolved else run
    used = fitted.config if fitted else resolved
    speed = None
    if card is None:
        hardware = detect()
        on_gpu = run.hardware.devices != "cpu" and bool(hardware.usable_gpus)
        speed = measured(run, on_gpu)
    return surroundings(run, used, facts, counted.facts, card, speed)


def _traced(run: RunConfig, facts: ModelFacts, card: Card | None, versions: Stack | None) -> Check:
    """Tier 2 for a run, resolved for its card."""
    from tui_tuner.planning.estimate import resolve_for, setup_for
    from tui_tuner.planning.memory.stack import installed
    from tui_tuner.planning.trace import Tracer

    stack = versions or installed()
    setup = setup_for(resolve_for(run, facts, card, stack).config, facts, stack, card)
    with Tracer() as tracer:
        return tracer.check(setup)

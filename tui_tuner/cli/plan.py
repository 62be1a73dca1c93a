"""`tui-tuner estimate`: memory of a run before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Json, Sets
from tui_tuner.text import sanitize

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts
    from tui_tuner.planning.estimate import Estimate
    from tui_tuner.planning.fit import Fit
    from tui_tuner.planning.gpus import Card
    from tui_tuner.planning.memory.stack import Stack
    from tui_tuner.planning.trace import Check

Config = Annotated[str, typer.Argument(help="YAML file of the run.", metavar="CONFIG")]
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
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Say how much memory a run needs, what takes it, whether it fits, and what would make it fit."""
    from tui_tuner.config.load import load_config
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning.estimate import estimate as compute
    from tui_tuner.planning.fit import fit, which_cards
    from tui_tuner.planning.gpus import find_card
    from tui_tuner.planning.memory.stack import parse_stack

    run = load_config(config, sets or ())
    card = find_card(gpu) if gpu else None
    versions = parse_stack(stack) if stack else None
    facts = load_facts(run.model)
    fitted = fit(run, card, facts=facts, stack=versions) if card else None
    found = fitted.estimate if fitted else compute(run, facts=facts, stack=versions)
    table = which_cards(run, facts=facts, stack=versions) if cards else []
    check = _traced(fitted.config if fitted else run, facts, card, versions) if trace else None
    if json:
        import orjson

        report = {**found.to_json(), **_verdict(fitted)}
        if cards:
            report["cards"] = [
                {"name": one.name, "usable_gib": one.usable, "fits": fits, "device_gib": there.device}
                for one, fits, there in table
            ]
        if check:
            report["trace"] = {"difference": check.difference, "confirmed": check.confirmed}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    lines = describe(found)
    lines += describe_fit(fitted) if fitted else []
    lines += ["", check.sentence()] if check else []
    lines += [""] * bool(table) + [
        f"  {one.name:18} {one.usable:6.1f} GiB  {'fits' if fits else 'too small':9}  "
        f"wants {there.upper:7.2f} GiB"
        for one, fits, there in table
    ]
    for line in lines:
        typer.echo(sanitize(line))


def _traced(run: RunConfig, facts: ModelFacts, card: Card | None, versions: Stack | None) -> Check:
    """Tier 2 for a run, resolved for its card."""
    from tui_tuner.planning.estimate import resolve_for, setup_for
    from tui_tuner.planning.memory.stack import installed
    from tui_tuner.planning.trace import Tracer

    stack = versions or installed()
    setup = setup_for(resolve_for(run, facts, card, stack).config, facts, stack, card)
    with Tracer() as tracer:
        return tracer.check(setup)


def describe(found: Estimate) -> list[str]:
    """The estimate as lines of text."""
    lines = [
        f"allocated  {found.allocated:8.2f} GiB   peak of torch's allocator ({found.phase})",
        f"reserved   {found.reserved:8.2f} GiB   with what the allocator keeps",
        f"device     {found.device:8.2f} GiB   with the CUDA context, as nvidia-smi shows it",
        f"static     {found.static:8.2f} GiB   between steps",
        "",
    ]
    lines += [f"  {row.name:28} {row.gib:8.2f} GiB" for row in found.rows if row.gib >= 0.005]
    if not found.verified:
        lines += ["", f"unverified, within about {found.band:.0%}: {found.reason}"]
    return lines


def describe_fit(found: Fit) -> list[str]:
    """The verdict for a card, the settings it rests on, and what each lever saves."""
    training = found.config.training
    checkpointing = "with" if training.gradient_checkpointing else "without"
    lines = [
        "",
        found.sentence(),
        f"Micro-batch {training.micro_batch} of batch {training.batch_size}, {checkpointing} gradient "
        f"checkpointing, {training.optimizer}, {found.config.model.dtype} weights.",
    ]
    if found.levers:
        lines += ["", "  change                           saves GiB   step time"]
    for lever in found.levers:
        mark = "" if found.fits or not lever.fits else "   then it fits"
        lines.append(f"  {lever.change.label:32} {lever.saves:9.2f}   x {lever.time:.2f}{mark}")
    return lines


def _verdict(found: Fit | None) -> dict[str, Any]:
    """JSON of a fit; nothing without a card."""
    if found is None:
        return {}
    return {
        "gpu": found.card.name,
        "fits": found.fits,
        "usable_gib": found.card.usable,
        "wanted_gib": found.estimate.upper,
        "levers": [
            {
                "path": lever.change.path,
                "value": lever.change.value,
                "saves_gib": lever.saves,
                "time": lever.time,
                "fits": lever.fits,
            }
            for lever in found.levers
        ],
        "smallest": {change.path: change.value for change in found.smallest},
    }

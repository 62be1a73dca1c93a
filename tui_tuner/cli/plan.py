"""`tui-tuner estimate`: memory of a run before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Sets

if TYPE_CHECKING:
    from tui_tuner.planning.estimate import Estimate
    from tui_tuner.planning.gpus import Card

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
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Say how much memory a run needs, what takes it, and whether it fits."""
    from tui_tuner.config.load import load_config
    from tui_tuner.planning.estimate import estimate as compute
    from tui_tuner.planning.gpus import find_card
    from tui_tuner.planning.memory.stack import parse_stack

    run = load_config(config, sets or ())
    card = find_card(gpu) if gpu else None
    found = compute(run, card=card, stack=parse_stack(stack) if stack else None)
    if json:
        import orjson

        typer.echo(orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2).decode())
        return
    for line in describe(found, card):
        typer.echo(line)


def describe(found: Estimate, card: Card | None) -> list[str]:
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
    if card is not None:
        fits = found.upper <= card.usable
        verdict = "fits" if fits else "does not fit"
        lines += ["", f"{verdict}: {found.upper:.2f} GiB wanted, {card.usable:.2f} GiB usable on {card.name}"]
    return lines

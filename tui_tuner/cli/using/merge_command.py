"""`tui-tuner merge`: combines several adapters of one model into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tui_tuner.cli.options import Json, Runs
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_SIGNS = ("total", "frequency")


def merge_adapters(
    adapters: Annotated[
        list[str],
        typer.Argument(help=N_("Runs, RUN/last, or folders that hold an adapter."), metavar="ADAPTER..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=N_("The new folder."), metavar="FOLDER")],
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            help=N_("A weight for each, such as 0.7,0.3; by default equal."),
            metavar="LIST",
        ),
    ] = "",
    how: Annotated[
        str,
        typer.Option("--how", help=N_("linear, cat (exact), svd, ties, dare or dare_ties."), metavar="WAY"),
    ] = "linear",
    density: Annotated[
        float,
        typer.Option("--density", help=N_("Share of numbers that ties and dare keep."), min=0.01, max=1.0),
    ] = 0.5,
    rank: Annotated[
        int, typer.Option("--rank", help=N_("Rank of the result of svd; 0 is the largest."), min=0)
    ] = 0,
    sign: Annotated[
        str, typer.Option("--sign", help=N_("How ties elects signs: total or frequency."))
    ] = "total",
    seed: Annotated[int, typer.Option("--seed", help=N_("Of what dare drops."))] = 42,
    runs: Runs = "runs",
    json: Json = False,
) -> None:
    """Combine several LoRA adapters of one model into one, by weight."""
    from tui_tuner.inference.combining import combine_adapters
    from tui_tuner.inference.origin import find_origin
    from tui_tuner.methods.saved.weighted_sum import WAYS, Recipe
    from tui_tuner.runs.store import RunStore

    if how not in WAYS:
        raise _refuse_word("--how", how, tuple(WAYS))
    if sign not in _SIGNS:
        raise _refuse_word("--sign", sign, _SIGNS)
    origins = [find_origin(name, RunStore(runs)) for name in adapters]
    shares = _read_weights(weights, len(adapters))
    recipe = Recipe(shares, how, density, rank, sign, seed)
    target = combine_adapters(origins, recipe, out.expanduser().absolute())
    if json:
        import orjson

        told = {"folder": str(target), "adapters": adapters, "weights": list(shares), "how": how}
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    for origin, share in zip(origins, shares, strict=True):
        typer.echo(f"{share:8.3g}  {one_line(origin.display_label, 100)}")
    typer.echo(_("written to {folder}; try it with `tui-tuner chat {folder}`", folder=one_line(target, 200)))


def _read_weights(text: str, count: int) -> tuple[float, ...]:
    if not text:
        return tuple(1 / count for _unused in range(count))
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            _("--weights: {text!r} is no list of numbers.", text=one_line(text, 60)),
            hint=_("Give one for each adapter, such as --weights 0.7,0.3."),
        ) from None


def _refuse_word(option: str, word: str, known: tuple[str, ...]) -> UsageError:
    return UsageError(
        _("{option}: {word!r} is unknown.", option=option, word=one_line(word, 40)),
        hint=_("Known are {names}.", names=", ".join(known)),
    )

"""`tui-tuner lr`: a short real run over growing learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Sets, say_aside
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.planning.range_test import RangeTest


def lr(
    config: Annotated[
        str, typer.Argument(help=N_("A YAML file, or the name of a preset."), metavar="CONFIG")
    ],
    low: Annotated[float | None, typer.Option("--low", help=N_("First rate."), min=1e-12)] = None,
    high: Annotated[float | None, typer.Option("--high", help=N_("Last rate."), max=1000)] = None,
    steps: Annotated[int, typer.Option("--steps", help=N_("Optimizer steps."), min=10, max=10_000)] = 100,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Train a little while the learning rate grows, plot the loss, and suggest a rate. Nothing is kept."""
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.errors import UsageError
    from tui_tuner.launch.beforehand import check_hardware
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output import captured
    from tui_tuner.planning.range_test import bounds

    run = load_config(find_preset(config), sets or (), say_aside)
    check_hardware(run)
    usual = bounds(run)
    low, high = low or usual[0], high or usual[1]
    if not low < high:
        raise UsageError(
            _("the first rate, {low:g}, is not below the last, {high:g}.", low=low, high=high), where="--low"
        )
    prepare_environment()
    with captured(None) as terminal:
        from tui_tuner.training.range_test import range_test  # seconds: torch, transformers, peft

        shown = ""

        def say(
            words: str, done: int, total: int, rate: float | None = None, loss: float | None = None
        ) -> None:
            nonlocal shown
            line = one_line(f"{words} {done}/{total}" if total else words, 110)
            if not json and line != shown and (not total or done in (0, total) or done % 10 == 0):
                shown = line
                terminal.err.write(line + "\n")
                terminal.err.flush()

        found = range_test(run, low, high, steps, say)
    if json:
        import orjson

        typer.echo(orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2).decode())
        return
    for line in describe(found):
        typer.echo(sanitize(line))


def describe(found: RangeTest) -> list[str]:
    """Plot and suggestion as lines of text."""
    from tui_tuner.planning.range_test import SOURCE, plot

    suggestion = found.suggestion
    lines = [*plot(found), ""] if len(found.rates) > 1 else []
    if found.ended:
        lines.append(_("ended after {rates} steps: {ended}", rates=len(found.rates), ended=found.ended))
    if suggestion.rate is None:
        return [*lines, _("no suggestion: {why}", why=suggestion.why)]
    lines.append(_("suggested  {rate:.2g}, {why}", rate=suggestion.rate, why=suggestion.why))
    curve = _(
        "steepest at {steepest:.2g}, a tenth of the lowest is {tenth:.2g}",
        steepest=suggestion.steepest,
        tenth=suggestion.tenth_of_lowest,
    )
    lines += [f"           {curve}", f"           {_(SOURCE)}"]
    return [*lines, _("use it     --set training.learning_rate={rate:.2g}", rate=suggestion.rate)]

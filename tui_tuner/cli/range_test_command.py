"""`tui-tuner lr`: a learning rate range test, a short real run with growing rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Sets, print_to_stderr
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.planning.range_suggestion import RangeTest


def print_range_test(
    config: Annotated[
        str, typer.Argument(help=N_("A YAML file, or the name of a preset."), metavar="CONFIG")
    ],
    low: Annotated[float | None, typer.Option("--low", help=N_("First rate."), min=1e-12)] = None,
    high: Annotated[float | None, typer.Option("--high", help=N_("Last rate."), max=1000)] = None,
    steps: Annotated[int, typer.Option("--steps", help=N_("Optimizer steps."), min=10, max=10_000)] = 100,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Train briefly with a growing learning rate, plot the loss, and suggest a rate. Nothing is saved."""
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.errors import UsageError
    from tui_tuner.launch.beforehand import check_config_hardware
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output_capture import capture_output
    from tui_tuner.planning.range_suggestion import choose_range_bounds

    run = load_config(find_preset(config), sets or (), print_to_stderr)
    check_config_hardware(run)
    usual = choose_range_bounds(run)
    low, high = low or usual[0], high or usual[1]
    if not low < high:
        raise UsageError(
            _("the first rate, {low:g}, is not below the last, {high:g}.", low=low, high=high), where="--low"
        )
    # Before anything imports torch, which reads these variables only once
    prepare_environment()
    # Libraries print while they load, which must not mix with the progress or the JSON
    with capture_output(None) as terminal:
        # Takes seconds: torch, transformers, peft
        from tui_tuner.training.range_test import run_range_test

        shown = ""

        def print_progress(
            words: str, done: int, total: int, rate: float | None = None, loss: float | None = None
        ) -> None:
            nonlocal shown
            line = one_line(f"{words} {done}/{total}" if total else words, 110)
            if not json and line != shown and (not total or done in (0, total) or done % 10 == 0):
                shown = line
                terminal.err.write(line + "\n")
                terminal.err.flush()

        found = run_range_test(run, low, high, steps, print_progress)
    if json:
        import orjson

        typer.echo(orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2).decode())
        return
    for line in format_range_test(found):
        typer.echo(sanitize(line))


def format_range_test(found: RangeTest) -> list[str]:
    """Format the plot and the suggestion as lines of text."""
    from tui_tuner.planning.range_suggestion import SOURCE, plot_range_curve

    suggestion = found.suggestion
    lines = [*plot_range_curve(found), ""] if len(found.rates) > 1 else []
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

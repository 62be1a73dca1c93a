"""`tui-tuner estimate`: memory, learning rate, time and money of a run before it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Sets, print_to_stderr
from tui_tuner.locales import N_
from tui_tuner.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tui_tuner.config.resolved import ResolvedConfig
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts
    from tui_tuner.planning.comparing.method_rows import MethodRow
    from tui_tuner.planning.duration import Duration
    from tui_tuner.planning.estimate import Estimate
    from tui_tuner.planning.fit import Candidate, Fit
    from tui_tuner.planning.gpus import Card
    from tui_tuner.planning.hardware import Hardware
    from tui_tuner.planning.heads.parameters import Parameters
    from tui_tuner.planning.memory.stack import Stack
    from tui_tuner.planning.plan import Surroundings
    from tui_tuner.planning.row_counting import RowCount
    from tui_tuner.planning.trace_check import Check

PATIENCE = 60.0  # seconds for reading rows, to count the classes in them
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


def estimate_run(
    config: Config,
    gpu: GpuOption = None,
    stack: StackOption = None,
    cards: Annotated[
        bool, typer.Option("--cards", help=N_("List the known GPUs that could run it."))
    ] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help=N_("Compare all methods for this model and GPU."))
    ] = False,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace",
            help=N_("Check the memory estimate against the installed libraries (takes a few seconds)."),
        ),
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help=N_("Tokenise all data as the run would, for exact counts."))
    ] = False,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Estimate a run before it starts: memory, learning rate, time, cost, and possible problems."""
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.launch.beforehand import check_config_metrics
    from tui_tuner.methods.saved.starting_adapter import follow_adapter
    from tui_tuner.models.facts import load_facts
    from tui_tuner.models.growing.grown_facts import settle_new_tokens
    from tui_tuner.planning import plan_words
    from tui_tuner.planning.comparing.method_words import method_lines, methods_json
    from tui_tuner.planning.gpus import parse_gpu_cards
    from tui_tuner.planning.hardware import detect_hardware
    from tui_tuner.planning.memory.stack import parse_stack
    from tui_tuner.planning.row_counting import count_rows_exactly, count_rows_quickly
    from tui_tuner.tasks import find_task

    run = follow_adapter(load_config(find_preset(config), sets or (), print_to_stderr))
    # A typing error is reported before rows are counted, which takes up to a minute
    check_config_metrics(run)
    # For a GPU that is named, this machine does not matter, and detecting it takes a while
    hardware = None if gpu else detect_hardware()
    # Other library versions are those of another machine, so this machine's GPU says nothing
    card = None if gpu or stack or hardware is None else _find_own_card(run, hardware)
    if gpu:
        card, run = parse_gpu_cards(gpu, run)
    versions = parse_stack(stack) if stack else None
    # Unlike the checks before a run, this may ask the hub for a config.json
    facts = load_facts(run.model)
    counted = (
        count_rows_exactly(run, find_task(run.task)) if data else count_rows_quickly(run, patience=PATIENCE)
    )
    if counted.vocabulary is not None:  # the rows may have fewer words than were asked for
        facts = load_facts(settle_new_tokens(run.model, counted.vocabulary["tokens"]))
    fitted, found, used, around = _plan_one(run, facts, counted, card, versions, hardware)
    # Building the model takes seconds, so it is only done if the tables may be wrong
    if around.parameters.doubt:
        parameters = _count_on_model(run, facts, counted, around.parameters)
        size = parameters.measure_file(used.model.dtype)
        around = replace(around, parameters=parameters, file_bytes=size)
    table = list(_list_cards(run, facts, versions, counted)) if cards else []
    rows = _list_methods(run, facts, counted, card, versions, hardware) if methods else []
    check = _trace_step(used, facts, card, versions, counted) if trace else None
    if json:
        import orjson

        report = {
            **found.to_json(),
            **plan_words.convert_fit_to_json(fitted),
            **plan_words.convert_surroundings_to_json(around, counted),
        }
        report |= {"cards": plan_words.convert_cards_to_json(table)} if cards else {}
        report |= {"methods": methods_json(rows, counted)} if methods else {}
        if check:
            report["trace"] = check.to_json()
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    lines = plan_words.format_memory_lines(found, bool(card and card.cpu))
    lines += (
        plan_words.format_fit_lines(fitted) if fitted else ["", *plan_words.explain_unfitted_figures(used)]
    )
    lines += ["", check.describe_check()] if check else []
    lines += plan_words.format_card_table(table) if cards else []
    lines += method_lines(rows, counted) if methods else []
    for line in lines + plan_words.format_surroundings_lines(around, counted):
        typer.echo(sanitize(line))


def _plan_one(
    run: RunConfig,
    facts: ModelFacts,
    counted: RowCount,
    card: Card | None,
    versions: Stack | None,
    hardware: Hardware | None,
    levers: bool = True,
) -> tuple[Fit | None, Estimate, ResolvedConfig, Surroundings]:
    """Plan a run for a card, or without one for a large GPU.

    Args:
        levers: Whether to find out what each change alone would save.
    """
    from tui_tuner.planning.estimate import estimate_memory as compute
    from tui_tuner.planning.estimate import resolve_for_card
    from tui_tuner.planning.fit import fit_run
    from tui_tuner.planning.memory.stack import find_installed_stack

    known = counted.facts
    if card is not None:
        fitted = fit_run(run, card, facts=facts, stack=versions, data=known, levers=levers)
        around = _compute_surroundings(run, fitted.config, facts, counted, card, hardware)
        return fitted, fitted.estimate, fitted.config, around
    found = compute(run, facts=facts, stack=versions, data=known)
    used = resolve_for_card(run, facts, None, versions or find_installed_stack(), known).config
    return None, found, used, _compute_surroundings(run, used, facts, counted, card, hardware)


def _list_methods(
    run: RunConfig,
    facts: ModelFacts,
    counted: RowCount,
    card: Card | None,
    versions: Stack | None,
    hardware: Hardware | None,
) -> list[MethodRow]:
    """Return a row for each method, planned as the run itself is; those that cannot train it last."""
    from tui_tuner.config.options import get_config_value
    from tui_tuner.config.values import edit_values
    from tui_tuner.launch.beforehand import check_carried
    from tui_tuner.methods.saved.starting_adapter import follow_adapter
    from tui_tuner.planning.comparing.method_rows import USUAL, Figures, compare_methods, sort_rows

    def plan_method(changed: RunConfig) -> Figures:
        fitted, found, _used, around = _plan_one(
            follow_adapter(changed), facts, counted, card, versions, hardware, levers=False
        )
        fits = fitted.fits if fitted is not None else None
        return Figures(found, fits, around.parameters, around.file_bytes, around.duration)

    rows = compare_methods(
        lambda path: get_config_value(run, path),
        facts.layers,
        lambda values: edit_values(run, values),
        plan_method,
        lambda changed: check_carried(changed, facts),
    )
    return sort_rows(rows, USUAL)


def _find_own_card(run: RunConfig, hardware: Hardware) -> Card | None:
    """Return the device of a run on this machine; None for a processor that was not asked for."""
    from tui_tuner.planning.calibration import calibrate_card
    from tui_tuner.planning.gpus import find_local_card

    card = find_local_card(run, hardware)
    return None if card.cpu and run.hardware.devices != "cpu" else calibrate_card(card)


def _compute_surroundings(
    run: RunConfig,
    used: ResolvedConfig,
    facts: ModelFacts,
    counted: RowCount,
    card: Card | None,
    hardware: Hardware | None,
) -> Surroundings:
    """Compute learning rate, time, cost and advice; with `hardware`, use speeds measured on this machine."""
    from tui_tuner.planning.plan import plan_surroundings
    from tui_tuner.planning.throughput import find_measured_throughput

    speed = None
    if hardware is not None:
        speed = find_measured_throughput(run, run.hardware.devices != "cpu" and bool(hardware.usable_gpus))
    return plan_surroundings(run, used, facts, counted.facts, card, speed)


def _count_on_model(run: RunConfig, facts: ModelFacts, counted: RowCount, guess: Parameters) -> Parameters:
    """Count parameters on the model itself, if the tables are not sure."""
    from tui_tuner.launch.parameter_count import count_parameters_on_model
    from tui_tuner.tasks import find_task

    task = find_task(run.task)
    return count_parameters_on_model(run, facts, counted.facts, guess, task.auto_class, task.peft_type)


def _list_cards(
    run: RunConfig, facts: ModelFacts, versions: Stack | None, counted: RowCount
) -> Iterator[tuple[Candidate, Duration | None]]:
    """Yield the known GPUs that could run it, with the time on each."""
    from tui_tuner.planning.duration import estimate_duration
    from tui_tuner.planning.fit import rank_cards

    known = counted.facts
    for one in rank_cards(run, facts=facts, stack=versions, data=known):
        yield (
            one,
            estimate_duration(one.config, facts, known, card=one.card) if known and known.rows else None,
        )


def _trace_step(
    run: ResolvedConfig, facts: ModelFacts, card: Card | None, versions: Stack | None, counted: RowCount
) -> Check:
    """Check a memory estimate by tracing a step with the installed libraries."""
    from tui_tuner.launch.tracing import Tracer
    from tui_tuner.planning.estimate import make_memory_setup
    from tui_tuner.planning.memory.stack import find_installed_stack

    setup = make_memory_setup(run, facts, versions or find_installed_stack(), card, counted.facts)
    with Tracer() as tracer:
        return tracer.check_setup(setup)

"""Config checks that need no run folder and no torch, and take only a moment."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.kinds.optimizers import require_optimizer
from tui_tuner.config.paths import explain_missing_path
from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError, DataError, TunerError, UsageError, name_error_field
from tui_tuner.locales import N_, _
from tui_tuner.models.growing.grown_facts import check_new_tokens
from tui_tuner.tasks import find_task
from tui_tuner.text import join_sentence_items, one_line

if TYPE_CHECKING:
    from tui_tuner.models.facts import ModelFacts
    from tui_tuner.training.ranks import Ranks

MOST_ROWS = 1000  # read in search of a usable one


def check_beforehand(config: RunConfig) -> None:
    """Check the files, folders, devices and names in a config. Uses no network.

    Raises:
        DataError: a data file is missing, empty or of unknown format, or its rows do not fit the task.
        ModelError: a model folder lacks config, tokenizer or weights, or a chat template is missing.
        HardwareError: more GPUs than this machine has.
        ConfigError: an unknown metric, several devices, layers that the model does not have, or an
            optimizer that is not installed or suits no weight that is trained.
        UsageError: this is one of several processes.
    """
    check_config_hardware(config)
    require_optimizer(config.training.optimizer)
    _check_model(config)
    check_new_tokens(config.model)
    check_config_method(config)
    check_config_data(config)
    check_config_metrics(config)


def check_config_metrics(config: RunConfig) -> None:
    """Check that the metrics named in a config are measured for its task.

    Raises:
        ConfigError: a metric is unknown or not measured.
    """
    task = find_task(config.task)
    measured = [metric.name for metric in task.metrics if metric.name not in task.kept]
    best = task.best_metric(config)
    scored = task.list_scored_metrics(config)
    if best not in measured and best not in scored:
        with_rows = edit_values(config, {"evaluation.metric_rows": 1})
        if best in task.list_scored_metrics(with_rows):
            raise ConfigError(
                _("{metric!r} is measured on generated answers, and none are scored.", metric=best),
                where="evaluation.best",
                hint=_("Set evaluation.metric_rows, such as 100: they are answered at each evaluation."),
            )
        raise ConfigError(
            _("{metric!r} is not measured on held-out rows.", metric=one_line(config.evaluation.best)),
            where="evaluation.best",
            hint=_("Known are {metrics}.", metrics=", ".join([*measured, *scored])),
        )
    if config.evaluation.metrics != "auto":
        from tui_tuner.evaluation.metrics import choose_metrics

        choose_metrics(config.evaluation.metrics, [])


def check_config_hardware(config: RunConfig) -> None:
    """Check that the devices named in a config exist and that a run can use them.

    Raises:
        HardwareError: more GPUs than this machine has.
        ConfigError: several devices, which a run cannot use yet.
        UsageError: this is one of several processes.
    """
    # First: with several processes, every other check would print its error several times
    require_one_process()
    devices = config.hardware.devices
    if not isinstance(devices, int):
        return
    from tui_tuner.planning.hardware import detect_hardware
    from tui_tuner.planning.resolve import check_device_count

    check_device_count(config, detect_hardware())
    if devices > 1:
        raise ConfigError(
            _("asks for {devices} GPUs, but a run cannot use more than one yet.", devices=devices),
            where="hardware.devices",
            hint=_("Set it to 1 or auto; `tui-tuner estimate` can plan for several."),
        )


def require_one_process() -> Ranks:
    """Return the ranks of this process; there must be only one.

    Raises:
        UsageError: torchrun has started several processes, which a run cannot use yet.
    """
    from tui_tuner.training.ranks import Ranks

    ranks = Ranks.from_environment()
    if ranks.world > 1:
        raise UsageError(
            _(
                "this is one of {world} processes, but a run cannot use more than one yet.",
                world=ranks.world,
            ),
            where="WORLD_SIZE",
            hint=_("Start it without torchrun, or unset this environment variable."),
        )
    return ranks


def _check_model(config: RunConfig) -> None:
    from tui_tuner.data.chat.template_choice import check_template
    from tui_tuner.models.architectures.older_code import check_older_code
    from tui_tuner.models.hub.place import is_model_path
    from tui_tuner.models.loading import check_weight_files, find_model_source, find_tokenizer_source
    from tui_tuner.models.sizes import check_sizes
    from tui_tuner.models.weights_check import check_weights_match_config

    model = config.model
    check_older_code(model)
    if model.adapter is not None:
        from tui_tuner.training.starting import check_start

        check_start(config)
    if model.architecture is None:
        with name_error_field("model.name"):
            # A hub's model is downloaded by the run
            source = find_model_source(model) if is_model_path(model.name) else ""
            if os.path.isdir(source):
                check_weight_files(Path(source))
                check_weights_match_config(model)
    else:
        check_sizes(model.architecture, "model.architecture")
    if model.tokenizer != "train":
        with name_error_field("model.name" if model.tokenizer is None else "model.tokenizer"):
            if is_model_path(model.tokenizer or model.name):
                find_tokenizer_source(model)
    if model.chat_template is not None:
        check_template(model.chat_template)


def check_carried(config: RunConfig, facts: ModelFacts) -> None:
    """Check that a model can carry the method of a config, next to the adapter that the run begins with.

    Raises:
        TunerError: it cannot, or the adapter is none for this method.
    """
    if config.model.adapter is not None:
        from tui_tuner.training.starting import check_start

        check_start(config)
    check_config_method(config, facts)


def check_config_method(config: RunConfig, facts: ModelFacts | None = None) -> None:
    """Check that the model has what the method needs, if the model's shapes are known without a network.

    Args:
        facts: The model's shapes, if they are known already.

    Raises:
        ConfigError: more layers than the model has, unknown layer names, or an unsupported prefix.
    """
    from tui_tuner.methods import find_method
    from tui_tuner.methods.layers import find_near
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.planning.traps.findings import Case
    from tui_tuner.planning.traps.head_traps import no_prefix
    from tui_tuner.planning.traps.low_rank_traps import (
        find_expert_problem,
        find_pattern_problem,
        find_rank_problem,
        find_step_problem,
    )
    from tui_tuner.planning.traps.model_traps import unknown_targets
    from tui_tuner.planning.traps.optimizer_traps import find_matrix_problem

    method = config.method

    try:
        facts = facts or load_facts(config.model, network=False)
    except TunerError:
        # Left to the run, which may know shapes that planning does not
        return
    beside = no_prefix(Case(config, facts, DataFacts(0), None))
    if beside is not None:
        raise ConfigError(beside.text, where="method.kind", hint=beside.reason, field="method.kind")
    find_method(method.kind).check_model(config, facts)
    asked = (method.layers or 0) if method.reads_field("layers") else 0
    if facts.verified and asked > facts.layers:
        every = write_setting({"method.layers": facts.layers})
        raise ConfigError(
            _("{asked} is more than this model's {layers} layers.", asked=asked, layers=facts.layers),
            where="method.layers",
            hint=build_hint(N_("Use all of them with {command}.", command=every)),
        )
    case = Case(config, facts, DataFacts(0), None)
    problem = find_step_problem(case)
    problem = problem or find_expert_problem(method, facts)
    problem = problem or find_pattern_problem(method, facts) or find_rank_problem(method, facts)
    problem = problem or find_matrix_problem(config, facts)
    if problem is not None:
        raise problem
    wrong, known = unknown_targets(method, facts)
    if wrong:
        every = write_setting({"method.targets": "all-linear"})
        near = find_near(wrong[0], sorted(known))
        if near:
            hint = N_(
                "Did you mean {near}? Its linear layers are {names}; {command} uses all.",
                near=join_sentence_items(near),
                names=join_sentence_items(sorted(known)),
                command=every,
            )
        else:
            hint = N_(
                "Its linear layers are {names}; {command} uses all.",
                names=join_sentence_items(sorted(known)),
                command=every,
            )
        raise ConfigError(
            _("this model has no layer {name!r}.", name=one_line(wrong[0])),
            where="method.targets",
            hint=build_hint(hint),
        )


def check_config_data(config: RunConfig) -> None:
    """Check that the data files exist and their first rows fit the task. Uses no network.

    Raises:
        DataError: a file is missing or unreadable, or its rows do not fit.
    """
    data = config.data
    _check_rows(config, data)
    if isinstance(data.validation, str):
        with name_error_field("data.validation", instead_of="data.path"):
            _check_rows(config, data.model_copy(update={"path": data.validation}))
    phrases = data.cleaning.phrases
    if phrases and data.cleaning.refusals and not os.path.isfile(Path(phrases).expanduser()):
        raise DataError(
            _("no such file."),
            where=f"data.cleaning.phrases: {one_line(phrases)}",
            hint=explain_missing_path(phrases),
            field="data.cleaning.phrases",
        )


def _check_rows(config: RunConfig, data: DataSection) -> None:
    """Check the first usable row of each source; at least one source must have one."""
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.read_data import DataReading
    from tui_tuner.data.sources.files import resolve_data_paths

    check_kind = getattr(find_task(config.task).encoder_class, "check_kind", None)
    ledger = Ledger()
    # Also set for sources that were not read to their end
    usable = False
    legible = False
    for number, resolved in enumerate(resolve_data_paths(data)):
        # Data sets on hubs are checked by the run, which downloads them
        if resolved.is_far_off:
            usable = True
            continue
        reading = DataReading(data.model_copy(update={"path": [resolved.source]}))
        looked = 0
        for looked, read in enumerate(islice(reading, MOST_ROWS), 1):  # noqa: B007
            record = read.count_start(ledger)
            if record is None:
                continue
            usable = True
            if check_kind is not None:
                check_kind(config, replace(read, source=number), record)
            break
        # The rows read so far are unusable, but the file has more
        usable = usable or looked == MOST_ROWS
        legible = legible or bool(reading.detections)
    if not usable:
        from tui_tuner.data.examples.prepare import make_no_rows_error

        raise make_no_rows_error(data, ledger, legible)

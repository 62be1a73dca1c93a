"""What can be told to be wrong with a config before there is a run folder: in a moment, without torch."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.config.advice import advise, setting
from tui_tuner.config.kinds import METHOD_FIELDS
from tui_tuner.config.paths import where_looked
from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.errors import ConfigError, DataError, TunerError, UsageError, about
from tui_tuner.locales import N_, _
from tui_tuner.tasks import find_task
from tui_tuner.text import listed, one_line

if TYPE_CHECKING:
    from tui_tuner.training.ranks import Ranks

MOST_ROWS = 1000  # are read to find one that can be used


def check_beforehand(config: RunConfig) -> None:
    """Look for the files, folders, devices and names that a config speaks of. Asks no hub.

    Raises:
        DataError: a data file is missing, empty or of no known kind, or holds rows that the task cannot use.
        ModelError: a model folder without config, tokenizer or weights, or a missing chat template.
        HardwareError: more GPUs than this machine has.
        ConfigError: an unknown metric, several devices, or layers that the model has not.
        UsageError: this is one of several processes.
    """
    check_hardware(config)
    _check_model(config)
    check_method(config)
    check_data(config)
    check_metrics(config)


def check_metrics(config: RunConfig) -> None:
    """What decides which checkpoint is best is measured, and so is what answers are scored by.

    Raises:
        ConfigError: one of that is not so.
    """
    task = find_task(config.task)
    measured = [metric.name for metric in task.metrics if metric.name not in task.kept]
    if task.best_metric(config) not in measured:
        raise ConfigError(
            _("{metric!r} is not measured on held-out rows.", metric=one_line(config.evaluation.best)),
            where="evaluation.best",
            hint=_("Known are {metrics}.", metrics=", ".join(measured)),
        )
    if config.evaluation.metrics != "auto":
        from tui_tuner.evaluation.metrics import chosen

        chosen(config.evaluation.metrics, [])


def check_hardware(config: RunConfig) -> None:
    """There are as many devices as the config names, and they can train together.

    Raises:
        HardwareError: more GPUs than this machine has.
        ConfigError: several devices; they do not train together yet.
        UsageError: this is one of several processes.
    """
    one_process()
    devices = config.hardware.devices
    if not isinstance(devices, int):
        return
    from tui_tuner.planning.hardware import detect
    from tui_tuner.planning.resolve import check_devices

    check_devices(config, detect())
    if devices > 1:
        raise ConfigError(
            _("asks for {devices} GPUs, and several do not train one run together yet.", devices=devices),
            where="hardware.devices",
            hint=_("Set it to 1 or auto; `tui-tuner estimate` may plan for several."),
        )


def one_process() -> Ranks:
    """This process, alone.

    Raises:
        UsageError: torchrun has started several; they do not train one run together yet.
    """
    from tui_tuner.training.ranks import Ranks

    ranks = Ranks.from_environment()
    if ranks.world > 1:
        raise UsageError(
            _(
                "this is one of {world} processes, and several do not train one run together yet.",
                world=ranks.world,
            ),
            where="WORLD_SIZE",
            hint=_("Start it without torchrun, or unset this environment variable."),
        )
    return ranks


def _check_model(config: RunConfig) -> None:
    from tui_tuner.data.chat.choosing import check_template
    from tui_tuner.models.described import check_described
    from tui_tuner.models.hub.place import is_path
    from tui_tuner.models.loading import check_weights, model_source, tokenizer_source
    from tui_tuner.models.sizes import check_sizes

    model = config.model
    if model.architecture is None:
        with about("model.name"):
            source = model_source(model) if is_path(model.name) else ""  # a run fetches what is missing
            if os.path.isdir(source):
                check_weights(Path(source))
                check_described(model)
    else:
        check_sizes(model.architecture, "model.architecture")
    if model.tokenizer != "train":
        with about("model.name" if model.tokenizer is None else "model.tokenizer"):
            if is_path(model.tokenizer or model.name):
                tokenizer_source(model)
    if model.chat_template is not None:
        check_template(model.chat_template)


def check_method(config: RunConfig) -> None:
    """What the method asks of the model is there, where the model's shapes are known here.

    Raises:
        ConfigError: more layers than it has, layers of other names, or a prefix that it cannot take.
    """
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.planning.traps.findings import Case
    from tui_tuner.planning.traps.heads import no_prefix
    from tui_tuner.planning.traps.model import unknown_targets

    method = config.method

    try:
        facts = load_facts(config.model, network=False)
    except TunerError:  # the run will see: it may know a shape that planning does not
        return
    beside = no_prefix(Case(config, facts, DataFacts(0), None))
    if beside is not None:
        raise ConfigError(beside.text, where="method.kind", hint=beside.reason, field="method.kind")
    asked = (method.layers or 0) if "layers" in METHOD_FIELDS[method.kind] else 0
    if facts.verified and asked > facts.layers:
        every = setting({"method.layers": facts.layers})
        raise ConfigError(
            _("{asked} is more than this model's {layers} layers.", asked=asked, layers=facts.layers),
            where="method.layers",
            hint=advise(N_("Take them all with {command}.", command=every)),
        )
    wrong, known = unknown_targets(method, facts)
    if wrong:
        every = setting({"method.targets": "all-linear"})
        hint = N_(
            "Its linear layers are {names}; {command} takes all.", names=listed(sorted(known)), command=every
        )
        raise ConfigError(
            _("this model has no layer {name!r}.", name=one_line(wrong[0])),
            where="method.targets",
            hint=advise(hint),
        )


def check_data(config: RunConfig) -> None:
    """The data files are there, their first rows are recognised, and the task takes such rows. Asks no hub.

    Raises:
        DataError: one of that is not so.
    """
    data = config.data
    _check_rows(config, data)
    if isinstance(data.validation, str):
        with about("data.validation", instead_of="data.path"):
            _check_rows(config, data.model_copy(update={"path": data.validation}))
    phrases = data.cleaning.phrases
    if phrases and data.cleaning.refusals and not os.path.isfile(Path(phrases).expanduser()):
        raise DataError(
            _("no such file."),
            where=f"data.cleaning.phrases: {one_line(phrases)}",
            hint=where_looked(phrases),
            field="data.cleaning.phrases",
        )


def _check_rows(config: RunConfig, data: DataSection) -> None:
    """The first usable row of each source, as far as it is quickly read; that there is one in any of them."""
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.reading import Reading
    from tui_tuner.data.sources.files import resolve

    check_kind = getattr(find_task(config.task).encoder_class, "check_kind", None)
    ledger = Ledger()
    usable = False  # or may be: not everything was read
    legible = False
    for number, resolved in enumerate(resolve(data)):
        if resolved.far_off:
            usable = True
            continue
        reading = Reading(data.model_copy(update={"path": [resolved.source]}))
        looked = 0
        for looked, read in enumerate(islice(reading, MOST_ROWS), 1):  # noqa: B007
            record = read.begun(ledger)
            if record is None:
                continue
            usable = True
            if check_kind is not None:
                check_kind(config, replace(read, source=number), record)
            break
        usable = usable or looked == MOST_ROWS
        legible = legible or bool(reading.detections)
    if not usable:
        from tui_tuner.data.examples.prepare import nothing_left

        raise nothing_left(data, ledger, legible)

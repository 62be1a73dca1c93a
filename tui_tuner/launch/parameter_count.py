"""Counts parameters of models that no table covers: a helper process builds the model without data."""

from __future__ import annotations

from dataclasses import replace

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.launch.helper import Helper
from tui_tuner.launch.helper_process import ProcessEnded
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.heads.outputs import find_trained_head
from tui_tuner.planning.heads.parameters import Parameters, count_virtual_parameters

OPERATION = "parameters"
SECONDS = 120.0


def count_parameters_on_model(
    config: RunConfig,
    facts: ModelFacts,
    data: DataFacts | None,
    guess: Parameters,
    auto_class: str,
    peft_type: str,
) -> Parameters:
    """Count the parameters on the model itself; return `guess`, with its doubt, if it cannot be built.

    Args:
        auto_class, peft_type: As in the task.
    """
    head = find_trained_head(config, facts, data)
    request = {
        "config": facts.raw,
        "method": config.method.model_dump(mode="json"),
        "auto_class": auto_class,
        "peft_type": peft_type,
        "outputs": head.outputs,
        "new_pooler": head.new_pooler,
        "added": count_virtual_parameters(facts, config.method, bool(head.decides)),
    }
    try:
        with Helper() as helper:
            found = helper.prepare_request(OPERATION, request, seconds=SECONDS).wait_for_result()
    except (TunerError, ProcessEnded) as error:
        # A pattern that fits no name is the user's to mend
        if config.method.trained_names and isinstance(error, ConfigError):
            raise
        # An estimate with a doubt is better than none
        return guess
    counted = replace(guess, trained=found["trained"], total=found["total"], doubt="")
    if not config.method.has_trait(Trait.ADAPTER):
        return replace(counted, own=found["total"])
    more = found["trained"] - guess.trained
    return replace(counted, adapter=guess.adapter + more, stored=max(0, guess.stored + more))

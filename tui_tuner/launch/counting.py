"""Parameters of a model whose shapes are in no table: a helper process builds it without data, and counts."""

from __future__ import annotations

from dataclasses import replace

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.launch.helper import Helper
from tui_tuner.launch.helper_process import ProcessEnded
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.heads.outputs import head_of
from tui_tuner.planning.heads.parameters import Parameters, virtual_parameters

OPERATION = "parameters"
SECONDS = 120.0


def count_on_model(
    config: RunConfig,
    facts: ModelFacts,
    data: DataFacts | None,
    guess: Parameters,
    auto_class: str,
    peft_type: str,
) -> Parameters:
    """What the model itself says; `guess`, with its doubt, where it cannot be built.

    Args:
        auto_class, peft_type: Of the task.
    """
    head = head_of(config, facts, data)
    request = {
        "config": facts.raw,
        "method": config.method.model_dump(mode="json"),
        "auto_class": auto_class,
        "peft_type": peft_type,
        "outputs": head.outputs,
        "new_pooler": head.new_pooler,
        "added": virtual_parameters(facts, config.method, bool(head.decides)),
    }
    try:
        with Helper() as helper:
            found = helper.request(OPERATION, request, seconds=SECONDS).wait()
    except (TunerError, ProcessEnded):
        return guess
    return replace(guess, trained=found["trained"], total=found["total"], doubt="")

"""What is wrong or doubtful about the labels of all rows together."""

from __future__ import annotations

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Facts
from tui_tuner.data.labels.problem import Tally
from tui_tuner.data.preflight import Problem


def check_labels(facts: Facts, config: RunConfig, tally: Tally) -> list[Problem]:
    return []

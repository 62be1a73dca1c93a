"""Learn a tag for each word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Tagged
from tui_tuner.tasks.base import Task

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoder import Encoder
    from tui_tuner.objectives.base import Objective


class TokenClassification(Task):
    records = (Tagged,)
    metrics = (METRICS["loss"], METRICS["f1"], METRICS["precision"], METRICS["recall"], METRICS["accuracy"])
    auto_class = "AutoModelForTokenClassification"
    new_modules = ("score", "classifier")
    peft_type = "TOKEN_CLS"

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        raise NotImplementedError

    def objective(self, config: RunConfig) -> Objective:
        raise NotImplementedError


TASK = TokenClassification()

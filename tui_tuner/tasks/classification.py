"""Learn the class of a text or of a pair of texts, several classes, or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Labelled
from tui_tuner.tasks.base import Task

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoder import Encoder
    from tui_tuner.objectives.base import Objective


class Classification(Task):
    records = (Labelled,)
    metrics = tuple(
        METRICS[name] for name in ("loss", "accuracy", "f1_macro", "mcc", "pearson", "precision", "recall")
    )
    auto_class = "AutoModelForSequenceClassification"
    new_modules = ("score", "classifier", "pre_classifier")
    peft_type = "SEQ_CLS"

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        raise NotImplementedError

    def objective(self, config: RunConfig) -> Objective:
        raise NotImplementedError


TASK = Classification()

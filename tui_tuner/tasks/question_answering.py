"""Learn to find the answer to a question inside a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Question
from tui_tuner.tasks.base import Task

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoder import Encoder
    from tui_tuner.objectives.base import Objective


class QuestionAnswering(Task):
    records = (Question,)
    metrics = (METRICS["loss"], METRICS["f1"], METRICS["exact_match"])
    auto_class = "AutoModelForQuestionAnswering"
    new_modules = ("qa_outputs", "score")
    peft_type = "QUESTION_ANS"

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        raise NotImplementedError

    def objective(self, config: RunConfig) -> Objective:
        raise NotImplementedError


TASK = QuestionAnswering()

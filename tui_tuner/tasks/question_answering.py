"""Learn to find the answer to a question inside a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS, Metric
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.questions import (
    COLUMNS,
    LONG,
    LONGEST_ANSWER,
    TORN,
    WITHOUT,
    QuestionEncoder,
    answer_mask,
)
from tui_tuner.data.examples.windows import prefer_right
from tui_tuner.data.preflight import Problem, noted
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Example, Question, Record
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.tasks.answering.threshold import NAME, keep_threshold
from tui_tuner.tasks.base import Task
from tui_tuner.text import one_line

if TYPE_CHECKING:
    import numpy as np

    from tui_tuner.data.examples.encoder import Encoder, Facts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.evaluation.samples import Samples, Shown
    from tui_tuner.objectives.base import Objective


class QuestionAnswering(Task):
    """Where an answer begins and ends in its text, or that it has none (SQuAD 1.1 and 2.0)."""

    records = (Question,)
    encoder_class = QuestionEncoder
    columns = COLUMNS
    metrics = (
        METRICS["loss"],
        METRICS["f1"],
        METRICS["exact_match"],
        Metric(NAME, N_("No-answer threshold"), N_("By how much no answer must score higher to be taken.")),
    )
    auto_class = "AutoModelForQuestionAnswering"
    new_modules = ("qa_outputs", "score", "classifier", "head", "qa_classifier", "splinter_qass")
    kept = (NAME,)
    peft_type = "QUESTION_ANS"

    # ---- rows ---------------------------------------------------------------------------------------------

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        note = prefer_right(tokenizer)
        return [note] if note else []

    def describe(self, record: Record, example: Example) -> str:
        if not isinstance(record, Question):
            return ""
        question = one_line(record.question, 200)
        if not record.answers:
            return _("question: {question}; its text holds no answer", question=question)
        answer, start = record.answers[0]
        said = {"question": question, "answer": one_line(answer, 80), "start": start}
        if example.columns["start"] != example.columns["null"]:
            return _("question: {question}; answer: “{answer}”, from character {start:,}", **said)
        return _(
            "question: {question}; the answer “{answer}”, from character {start:,}, is not in this window",
            **said,
        )

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        return QuestionEncoder(config, tokenizer)

    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        rows = ledger.read - ledger.outcomes["dropped"] - ledger.outcomes["deduplicated"]
        none = facts.count(WITHOUT)
        problems = [
            *noted(
                facts,
                TORN,
                "answers_torn",
                "warning",
                _(
                    "{count:,} answers stand in no window as a whole: their questions are learnt as if they "
                    "had none.",
                    count=facts.count(TORN),
                ),
                _("Raise data.stride, or data.max_length."),
            ),
            *noted(
                facts,
                LONG,
                "answers_long",
                "warning",
                _(
                    "{count:,} answers have more than {most} tokens, which is the most that is looked for.",
                    count=facts.count(LONG),
                    most=LONGEST_ANSWER,
                ),
                _("They are learnt, and will not be found whole."),
            ),
        ]
        if none and none >= rows:
            problems += noted(
                facts,
                WITHOUT,
                "no_answers",
                "error",
                _("No question has an answer in its text, so there is nothing to find."),
                _("Check that the column of answers is the right one (data.columns)."),
            )
        return problems

    def trained_mask(self, example: Example) -> np.ndarray:
        return answer_mask(example.labels)

    # ---- the model ----------------------------------------------------------------------------------------

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        """Two scores for each token, whatever a head had before: where the answer begins and ends."""
        return {"num_labels": 2}

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        """Where questions may have no answer, none is given where it scores higher, until more is known.

        Where each has one, a threshold that the base model brought along would hide answers of the new one.
        """
        kept = getattr(model.config, NAME, None)
        if learned.get("unanswerable") and kept is None:
            keep_threshold(model, 0.0)
        elif kept is not None and not learned.get("unanswerable"):
            delattr(model.config, NAME)

    # ---- learning and judging -----------------------------------------------------------------------------

    def objective(self, config: RunConfig) -> Objective:
        from tui_tuner.tasks.answering.objective import SpanObjective

        return SpanObjective(config)

    def samples(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> Samples | None:
        from tui_tuner.tasks.answering.showing import ShownAnswers

        return ShownAnswers(config, tokenizer, held_out)

    def ask(self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = "") -> Shown:
        from tui_tuner.tasks.answering.showing import answer_question

        if not question.strip():
            raise UsageError(_("a question is needed: what is asked of the text?"), where="--question")
        if not text.strip():
            raise UsageError(_("the text is empty."), where="--text")
        try:
            return answer_question(config, model, tokenizer, text, question)
        except RowProblem as problem:
            raise UsageError(f"{problem}.", where="--question") from None

    def predict(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """`{answer, start, score}` of each question; nothing but the score where its text has no answer."""
        from tui_tuner.tasks.answering.showing import predict_answers

        return predict_answers(config, model, tokenizer, rows, batch_size)


TASK = QuestionAnswering()

"""Train a model to find the answer to a question inside a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS, Metric
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.pair_windows import pad_on_right
from tui_tuner.data.examples.questions import (
    COLUMNS,
    LONG,
    LONGEST_ANSWER,
    TORN,
    WITHOUT,
    QuestionEncoder,
    mask_answer_tokens,
)
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.data.records import Example, Question, Record
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.tasks.answering.threshold import NAME, keep_threshold
from tui_tuner.tasks.base import Task
from tui_tuner.text import one_line

if TYPE_CHECKING:
    import numpy as np

    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.evaluation.samples import SampleSource, ShownSample
    from tui_tuner.objectives.objective import Objective


class QuestionAnswering(Task):
    """Finds where an answer begins and ends in its text, or that there is none (SQuAD 1.1 and 2.0)."""

    records = (Question,)
    encoder_class = QuestionEncoder
    columns = COLUMNS
    metrics = (
        METRICS["loss"],
        METRICS["f1"],
        METRICS["exact_match"],
        Metric(
            NAME,
            N_("No-answer threshold"),
            N_("How much higher the score of no answer must be for it to be chosen."),
        ),
    )
    auto_class = "AutoModelForQuestionAnswering"
    new_modules = ("qa_outputs", "score", "classifier", "head", "qa_classifier", "splinter_qass")
    kept = (NAME,)
    peft_type = "QUESTION_ANS"

    # ---- rows ---------------------------------------------------------------------------------------------

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        note = pad_on_right(tokenizer)
        return [note] if note else []

    def describe_example(self, record: Record, example: Example) -> str:
        if not isinstance(record, Question):
            return ""
        question = one_line(record.question, 200)
        if not record.answers:
            return _("question: {question}; its text contains no answer", question=question)
        # Of several correct answers, the first one is trained on.
        answer, start = record.answers[0]
        said = {"question": question, "answer": one_line(answer, 80), "start": start}
        # The null position stands for "no answer in this window".
        if example.columns["start"] != example.columns["null"]:
            return _("question: {question}; answer: “{answer}”, from character {start:,}", **said)
        return _(
            "question: {question}; the answer “{answer}”, from character {start:,}, is not in this window",
            **said,
        )

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return QuestionEncoder(config, tokenizer)

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        rows = ledger.read - ledger.outcomes["dropped"] - ledger.outcomes["deduplicated"]
        none = facts.get_count(WITHOUT)
        problems = [
            *make_noted_problems(
                facts,
                TORN,
                "answers_torn",
                "warning",
                _(
                    "{count:,} answers do not fit whole into any window: their questions are trained as if "
                    "they had no answer.",
                    count=facts.get_count(TORN),
                ),
                _("Raise data.stride, or data.max_length."),
            ),
            *make_noted_problems(
                facts,
                LONG,
                "answers_long",
                "warning",
                _(
                    "{count:,} answers have more than {most} tokens, the longest that is searched for.",
                    count=facts.get_count(LONG),
                    most=LONGEST_ANSWER,
                ),
                _("They are trained on, but will not be found whole."),
            ),
        ]
        # Some questions without an answer are normal (SQuAD 2.0); none with one means a wrong column.
        if none and none >= rows:
            problems += make_noted_problems(
                facts,
                WITHOUT,
                "no_answers",
                "error",
                _("No question has an answer in its text, so there is nothing to find."),
                _("Check that data.columns names the right column of answers."),
            )
        return problems

    def trained_mask(self, example: Example) -> np.ndarray:
        return mask_answer_tokens(example.labels)

    # ---- the model ----------------------------------------------------------------------------------------

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        """Return two labels, the beginning and the end of the answer, whatever head the model had."""
        return {"num_labels": 2}

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        """Set the no-answer threshold to 0 if questions may have no answer, until an evaluation finds one.

        If every question has an answer, a threshold of the base model is removed: it would hide answers.
        """
        kept = getattr(model.config, NAME, None)
        if learned.get("unanswerable") and kept is None:
            keep_threshold(model, 0.0)
        elif kept is not None and not learned.get("unanswerable"):
            delattr(model.config, NAME)

    # ---- learning and judging -----------------------------------------------------------------------------

    def make_objective(self, config: RunConfig) -> Objective:
        from tui_tuner.tasks.answering.objective import SpanObjective

        return SpanObjective(config)

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        from tui_tuner.tasks.answering.answer_showing import AnswerSamples

        return AnswerSamples(config, tokenizer, held_out)

    def ask_model(
        self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = ""
    ) -> ShownSample:
        from tui_tuner.tasks.answering.answer_showing import answer_question

        if not question.strip():
            raise UsageError(_("a question about the text is missing."), where="--question")
        if not text.strip():
            raise UsageError(_("the text is empty."), where="--text")
        try:
            return answer_question(config, model, tokenizer, text, question)
        except RowProblem as problem:
            raise UsageError(f"{problem}.", where="--question") from None

    def predict_rows(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """Return `{answer, start, score}` of each question; only the score if its text has no answer."""
        from tui_tuner.tasks.answering.answer_showing import predict_answers

        return predict_answers(config, model, tokenizer, rows, batch_size)


TASK = QuestionAnswering()

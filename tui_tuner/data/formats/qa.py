"""Extractive question answering: a question, a context, and answers with their place in it (SQuAD)."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.base import Format, Match, Way
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.values import Columns, Values, text_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Question
from tui_tuner.locales import N_, _

QUESTION = Troubles(
    N_("the question is not text"), N_("the question is empty"), N_("the question is missing")
)
CONTEXT = Troubles(N_("the context is not text"), N_("the context is empty"), N_("the context is missing"))


class QuestionAnswering(Format):
    name = "qa"
    needed = ("question", "context", "answers")
    rank = 50

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        question, context = sample.get("question"), sample.get("context")
        answers = sample.get("answers") or sample.get("answer") or sample.empty("answers")
        if not question or not context or not answers:
            return None
        if answers.filled and not answers.mostly("object", "objects") and not asked:
            return None
        roles = {"question": question.name, "context": context.name, "answers": answers.name}
        return Match(roles, 0.99, _("question, context and answers with their place in it"))

    def convert(self, values: Values, columns: Columns) -> Question:
        question = text_of(values.get(columns["question"]), QUESTION)
        context = text_of(values.get(columns["context"]), CONTEXT)
        answers = []
        for text, start in _pairs(values.get(columns["answers"]), context):
            if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
                raise RowProblem(N_("an answer has no text or no start"))
            if start < 0 and (not text or text not in context):
                continue  # a word for that the context has no answer
            if start < 0 or context[start : start + len(text)] != text:
                raise RowProblem(
                    N_("an answer is not at its answer_start"),
                    _("{text!r} at {start}", text=text[:40], start=start),
                )
            answers.append((text, start))
        return Question(question, context, answers)

    def otherwise(self, columns: Columns, values: Values) -> Way:
        roles = {"prompt": columns["question"], "input": columns["context"], "response": columns["answers"]}
        return Way(N_("To learn to write the answer: {command}."), "sft", roles)


def _pairs(found: Any, context: str) -> list[tuple[Any, Any]]:
    """Text and start of each answer, as they stand in the row."""
    if isinstance(found, dict):
        texts, starts = found.get("text", []), found.get("answer_start", [])
        if not isinstance(texts, list):
            texts, starts = [texts], [starts]
        if not isinstance(starts, list) or len(texts) != len(starts):
            raise RowProblem(N_("not as many answer starts as answers"))
        return list(zip(texts, starts, strict=True))
    if isinstance(found, list):
        return [(a.get("text"), a.get("answer_start")) for a in found if isinstance(a, dict)]
    if isinstance(found, str):
        return [(found, context.find(found))]
    return []


FORMATS = (QuestionAnswering(),)

"""Extractive question answering: a question, a context, and answers with their place in it (SQuAD)."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.base import Format, Match, Way
from tui_tuner.data.formats.parts.columns import Sample, loads_if_json
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.values import Columns, Values, text_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Question
from tui_tuner.locales import N_, _

QUESTION = Troubles(
    N_("the question is not text"), N_("the question is empty"), N_("the question is missing")
)
CONTEXT = Troubles(N_("the context is not text"), N_("the context is empty"), N_("the context is missing"))
FOUND = N_("an answer has no start, and is taken where its text stands, at one place alone")
IMPOSSIBLE = "is_impossible"
READ_BESIDE = ("id", IMPOSSIBLE)


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
        answers: list[tuple[str, int]] = []
        remarks: list[str] = []
        for text, start in _pairs(values.get(columns["answers"])):
            found, remark = _placed(text, start, context)
            answers += found
            remarks += remark
        _must_agree(values.get(IMPOSSIBLE), bool(answers))
        name = values.get("id")
        known = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""
        return Question(question, context, answers, known, list(dict.fromkeys(remarks)))

    def leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        """What says which row it is, and whether it has an answer, is read."""
        return super().leftovers(values, columns) - {("column", name) for name in READ_BESIDE}

    def otherwise(self, columns: Columns, values: Values) -> Way:
        roles = {"prompt": columns["question"], "input": columns["context"], "response": columns["answers"]}
        return Way(N_("To learn to write the answer: {command}."), "sft", roles)


def _pairs(found: Any) -> list[tuple[Any, Any]]:
    """Text and start of each answer, as they stand in the row; no start where a row gives the text alone."""
    found = loads_if_json(found)
    if isinstance(found, dict):
        texts, starts = found.get("text", []), found.get("answer_start", [])
        if not isinstance(texts, list):
            texts, starts = [texts], [starts]
        if not isinstance(starts, list) or len(texts) != len(starts):
            raise RowProblem(N_("not as many answer starts as answers"))
        return list(zip(texts, starts, strict=True))
    if isinstance(found, list):
        return [(a.get("text"), a.get("answer_start")) for a in found if isinstance(a, dict)]
    if isinstance(found, str) and found:
        return [(found, None)]
    return []


def _placed(text: Any, start: Any, context: str) -> tuple[list[tuple[str, int]], list[str]]:
    """An answer where it stands in the context, and what was mended; none where it stands for no answer.

    Where a row gives no offset, the text has to stand at one place alone.

    Raises:
        RowProblem: it does not stand where it should.
    """
    if not isinstance(text, str) or not (start is None or _is_number(start)):
        raise RowProblem(N_("an answer has no text or no start"))
    if not text.strip() or (start is not None and start < 0 and text not in context):
        return [], []  # words for that the context has no answer
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return [(text, start)], []
    place = context.find(text)
    alone = place >= 0 and context.find(text, place + 1) < 0
    if start is None and alone:
        return [(text, place)], [FOUND]
    if start is None and place >= 0:
        raise RowProblem(N_("an answer without a start stands at several places"), repr(text[:40]))
    if start is None:
        raise RowProblem(N_("an answer does not stand in the context"), repr(text[:40]))
    shown = text[:40]
    detail = _("answers: {text!r} at {start}", text=shown, start=start)
    if alone:
        detail = _(
            "answers: {text!r} at {start}; it stands at {place}, and nowhere else",
            text=shown,
            start=start,
            place=place,
        )
    raise RowProblem(N_("an answer is not at its answer_start"), detail)


def _is_number(start: Any) -> bool:
    return isinstance(start, int) and not isinstance(start, bool)


def _must_agree(impossible: Any, answered: bool) -> None:
    """Raise `RowProblem` where a row says both that it has an answer and that it has none."""
    if impossible is True and answered:
        raise RowProblem(N_("is_impossible is true, and there is an answer"))
    if impossible is False and not answered:
        raise RowProblem(N_("is_impossible is false, and there is no answer"))


FORMATS = (QuestionAnswering(),)

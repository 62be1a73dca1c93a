"""Read extractive question answering: a question, a context, and answers with their place (SQuAD)."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts.columns import ColumnSample, parse_if_json
from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.formats.parts.values import Columns, Values, read_text_value
from tui_tuner.data.formats.record_format import AlternativeWay, FormatMatch, RecordFormat
from tui_tuner.data.records import Question
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _

QUESTION = TextProblems(
    N_("the question is not text"), N_("the question is empty"), N_("the question is missing")
)
CONTEXT = TextProblems(
    N_("the context is not text"), N_("the context is empty"), N_("the context is missing")
)
FOUND = N_("an answer without a start was found at the only place of its text")
IMPOSSIBLE = "is_impossible"
READ_BESIDE = ("id", IMPOSSIBLE)


class QuestionAnswering(RecordFormat):
    name = "qa"
    needed = ("question", "context", "answers")
    rank = 50

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        question, context = sample.get_filled("question"), sample.get_filled("context")
        answers = sample.get_filled("answers") or sample.get_filled("answer") or sample.get_empty("answers")
        if not question or not context or not answers:
            return None
        # Plain texts have no places, and are more likely answers to be written.
        if answers.filled and not answers.is_mostly("object", "objects") and not asked:
            return None
        roles = {"question": question.name, "context": context.name, "answers": answers.name}
        return FormatMatch(roles, 0.99, _("question, context and answers with their place in it"))

    def convert_row(self, values: Values, columns: Columns) -> Question:
        question = read_text_value(values.get(columns["question"]), QUESTION)
        context = read_text_value(values.get(columns["context"]), CONTEXT)
        answers: list[tuple[str, int]] = []
        remarks: list[str] = []
        for text, start in _list_answers(values.get(columns["answers"])):
            found, remark = _place_answer(text, start, context)
            answers += found
            remarks += remark
        _check_impossible(values.get(IMPOSSIBLE), bool(answers))
        name = values.get("id")
        # A bool is an int for Python, but not an id.
        known = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""
        return Question(question, context, answers, known, list(dict.fromkeys(remarks)))

    def list_leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        """Return the parts of a row that are not used; its id and `is_impossible` are read."""
        return super().list_leftovers(values, columns) - {("column", name) for name in READ_BESIDE}

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay:
        roles = {"prompt": columns["question"], "input": columns["context"], "response": columns["answers"]}
        return AlternativeWay(N_("To learn to write the answer: {command}."), "sft", roles)


def _list_answers(found: Any) -> list[tuple[Any, Any]]:
    """List text and start of each answer in the row; the start is None if a row has only the text."""
    found = parse_if_json(found)
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


def _place_answer(text: Any, start: Any, context: str) -> tuple[list[tuple[str, int]], list[str]]:
    """Find an answer in the context; returns it with remarks on corrections, or nothing for "no answer".

    If a row has no start, the text must occur exactly once.

    Raises:
        RowProblem: the answer is not where it should be.
    """
    if not isinstance(text, str) or not (start is None or _is_number(start)):
        raise RowProblem(N_("an answer has no text or no start"))
    if not text.strip() or (start is not None and start < 0 and text not in context):
        # Some data sets write a sentence such as "unanswerable" in the place of an answer.
        return [], []
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return [(text, start)], []
    place = context.find(text)
    # Only a text that occurs once has a certain place.
    alone = place >= 0 and context.find(text, place + 1) < 0
    if start is None and alone:
        return [(text, place)], [FOUND]
    if start is None and place >= 0:
        raise RowProblem(N_("an answer without a start occurs at several places"), repr(text[:40]))
    if start is None:
        raise RowProblem(N_("an answer is not in the context"), repr(text[:40]))
    shown = text[:40]
    detail = _("answers: {text!r} at {start}", text=shown, start=start)
    if alone:
        detail = _(
            "answers: {text!r} at {start}; it occurs only at {place}",
            text=shown,
            start=start,
            place=place,
        )
    raise RowProblem(N_("an answer is not at its answer_start"), detail)


def _is_number(start: Any) -> bool:
    return isinstance(start, int) and not isinstance(start, bool)


def _check_impossible(impossible: Any, answered: bool) -> None:
    """Raise `RowProblem` for a row that contradicts itself about having an answer."""
    if impossible is True and answered:
        raise RowProblem(N_("is_impossible is true, but there is an answer"))
    if impossible is False and not answered:
        raise RowProblem(N_("is_impossible is false, but there is no answer"))


FORMATS = (QuestionAnswering(),)

"""Read a prompt column and a response column, under any of their usual names."""

from __future__ import annotations

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import find_tools
from tui_tuner.data.formats.parts.chat_turns import (
    find_turn_keys,
    read_answer_turns,
    read_chat_history,
    read_prompt_turns,
    read_system_message,
)
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, ColumnSample
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import (
    AlternativeWay,
    AmbiguousColumns,
    FormatMatch,
    RecordFormat,
    ask_for_column,
)
from tui_tuner.data.records import Chat, Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

# Names that are too vague alone: they are prompt and response only as pairs.
PAIRS = (
    ("content", "summary"),
    ("document", "summary"),
    ("text", "summary"),
    ("dialogue", "summary"),
    ("article", "highlights"),
    ("article", "summary"),
    ("source", "target"),
    ("src", "tgt"),
    ("inputs", "targets"),
    ("input", "target"),
    ("questions", "answers"),
    ("text", "response"),
    ("content", "response"),
)


SPAN = 4  # a text is at least this many times longer than an answer found inside of it


class PromptResponse(RecordFormat):
    name = "prompt_response"
    needed: tuple[str, ...] = ("prompt", "response")
    more: tuple[str, ...] = ("input", "system", "history", "tools")
    rank = 70

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        if sample.get_filled("instruction") and sample.get_filled("output"):
            return None
        prompts = sample.find_named("prompt", "text") or _list_spoken_columns(sample, "prompt")
        answers = sample.find_named("response", "text") or _list_spoken_columns(sample, "response")
        if not prompts or not answers:
            return _match_known_pair(sample)
        # An input next to an instruction (or another prompt) is part of the prompt, as in alpaca.
        if len(prompts) > 1:
            prompts = [column for column in prompts if column.normalised_name != "input"] or prompts
        if len(prompts) > 1:
            raise ask_for_column(sample, "prompt", [c.name for c in prompts], {"response": answers[0].name})
        if len(answers) > 1:
            raise ask_for_column(sample, "response", [c.name for c in answers], {"prompt": prompts[0].name})
        # Texts with classes in a column called "answer" would otherwise train a model to write them.
        if not asked and _looks_like_class(answers[0], len(sample.rows)):
            if sample.find_named(LABEL_NAMES):
                return None
            raise _answers_or_classes_error(sample, prompts[0], answers[0])
        roles = {"prompt": prompts[0].name, "response": answers[0].name}
        roles |= sample.find_optional("input", "system", "history", "tools", taken=list(roles.values()))
        return FormatMatch(
            roles, 0.95, _explain_match(one_line(prompts[0].name, 40), one_line(answers[0].name, 40))
        )

    def convert_row(self, values: Values, columns: Columns) -> Chat:
        prompt = read_prompt_turns(values, columns)
        # A prompt that is a list of turns may begin with its own system message.
        messages = read_system_message(values, columns) if prompt[0].role != "system" else []
        for question, answer in (
            read_chat_history(values.get(columns["history"])) if "history" in columns else []
        ):
            messages += [Message("user", question), Message("assistant", answer)]
        answers = read_answer_turns(values.get(columns["response"]), troubles.RESPONSE)
        if answers[-1].role != "assistant":
            raise RowProblem(N_("the response does not end with an answer"))
        return Chat(messages + prompt + answers, find_tools(values, columns))

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay | None:
        text, answer = (values.get(columns.get(role, "")) for role in ("input", "response"))
        if not isinstance(text, str) or not isinstance(answer, str) or not _is_inside(answer, text):
            return None
        roles = {"question": columns["prompt"], "context": columns["input"], "answers": columns["response"]}
        words = N_("To learn to find answers inside their texts: {command}.")
        return AlternativeWay(words, "question_answering", roles, better=True)


def _is_inside(answer: str, text: str) -> bool:
    """Return whether an answer is a literal part of a much longer text."""
    return bool(answer.strip()) and SPAN * len(answer) < len(text) and answer in text


def _list_spoken_columns(sample: ColumnSample, role: str) -> list[Column]:
    """List the columns of a role that hold turns, or numbers and booleans as well as words."""
    named = sample.find_named(role)
    turns = [column for column in named if find_turn_keys(column)]
    if turns:
        return turns
    if role == "prompt":
        return [column for column in named if column.is_worded]
    return [column for column in named if column.is_written]


def _answers_or_classes_error(sample: ColumnSample, prompt: Column, answer: Column) -> AmbiguousColumns:
    return AmbiguousColumns(
        _(
            "{name} could be answers or classes: it has few short values that repeat.",
            name=one_line(answer.name, 40),
        ),
        where=sample.where,
        hint=build_hint(
            N_(
                "To learn to write them, use {answers}; to learn them as classes, use {command}.",
                answers=write_setting({"data.format": "prompt_response"}),
                command=write_setting(
                    {
                        "task": "classification",
                        "data.columns": {"text": prompt.name, "label": answer.name},
                    }
                ),
            )
        ),
        field="data.format",
    )


def _match_known_pair(sample: ColumnSample) -> FormatMatch | None:
    for first, second in PAIRS:
        one, two = sample.get_filled(first), sample.get_filled(second)
        if one and two and one.is_mostly("text") and two.is_mostly("text"):
            roles = {"prompt": one.name, "response": two.name, **sample.find_optional("system")}
            return FormatMatch(roles, 0.95, _explain_match(first, second))
    return None


def _explain_match(prompt: str, answer: str) -> str:
    return _("{prompt} asks and {answer} answers", prompt=prompt, answer=answer)


def _looks_like_class(column: Column, rows: int) -> bool:
    """Return whether a column has few short values that repeat, as classes do and answers do not."""
    return (
        rows >= 20 and len(column.values) <= max(2, rows // 10) and column.mean_length < 30
    ) and column.normalised_name in ("target", "answer", "output")


FORMATS = (PromptResponse(),)

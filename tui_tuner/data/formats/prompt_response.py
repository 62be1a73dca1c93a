"""One column asks and one answers, under any of their customary names."""

from __future__ import annotations

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.formats.base import Ambiguous, Format, Match, Way, ask
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import tools_in
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, Sample
from tui_tuner.data.formats.parts.turns import answer_of, history_of, prompt_of, system_of, turn_keys
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Message
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

# Names that say too little alone: they are prompt and response only side by side.
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


SPAN = 4  # times as long as an answer that is found inside it a text is at least


class PromptResponse(Format):
    name = "prompt_response"
    needed: tuple[str, ...] = ("prompt", "response")
    more: tuple[str, ...] = ("input", "system", "history", "tools")
    rank = 70

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        if sample.get("instruction") and sample.get("output"):
            return None
        prompts = sample.named("prompt", "text") or _speaking(sample, "prompt")
        answers = sample.named("response", "text") or _speaking(sample, "response")
        if not prompts or not answers:
            return _known_pair(sample)
        # An input beside an instruction (or another prompt) adds to it, as in alpaca.
        if len(prompts) > 1:
            prompts = [column for column in prompts if column.plain != "input"] or prompts
        if len(prompts) > 1:
            raise ask(sample, "prompt", [c.name for c in prompts], {"response": answers[0].name})
        if len(answers) > 1:
            raise ask(sample, "response", [c.name for c in answers], {"prompt": prompts[0].name})
        if not asked and _looks_like_class(answers[0], len(sample.rows)):
            if sample.named(LABEL_NAMES):
                return None
            raise _answers_or_classes(sample, prompts[0], answers[0])
        roles = {"prompt": prompts[0].name, "response": answers[0].name}
        roles |= sample.optional("input", "system", "history", "tools", taken=list(roles.values()))
        return Match(roles, 0.95, _why(one_line(prompts[0].name, 40), one_line(answers[0].name, 40)))

    def convert(self, values: Values, columns: Columns) -> Chat:
        prompt = prompt_of(values, columns)
        messages = system_of(values, columns) if prompt[0].role != "system" else []
        for question, answer in history_of(values.get(columns["history"])) if "history" in columns else []:
            messages += [Message("user", question), Message("assistant", answer)]
        answers = answer_of(values.get(columns["response"]), troubles.RESPONSE)
        if answers[-1].role != "assistant":
            raise RowProblem(N_("the response does not end with an answer"))
        return Chat(messages + prompt + answers, tools_in(values, columns))

    def otherwise(self, columns: Columns, values: Values) -> Way | None:
        text, answer = (values.get(columns.get(role, "")) for role in ("input", "response"))
        if not isinstance(text, str) or not isinstance(answer, str) or not _stands_inside(answer, text):
            return None
        roles = {"question": columns["prompt"], "context": columns["input"], "answers": columns["response"]}
        words = N_("Learn to find answers inside their texts with {command}.")
        return Way(words, "question_answering", roles, better=True)


def _stands_inside(answer: str, text: str) -> bool:
    """Whether an answer is a part of a much longer text, word for word."""
    return bool(answer.strip()) and SPAN * len(answer) < len(text) and answer in text


def _speaking(sample: Sample, role: str) -> list[Column]:
    """Columns of a role that hold turns, or numbers and booleans among or instead of words."""
    named = sample.named(role)
    turns = [column for column in named if turn_keys(column)]
    if turns:
        return turns
    if role == "prompt":
        return [column for column in named if column.worded]
    return [column for column in named if column.written]


def _answers_or_classes(sample: Sample, prompt: Column, answer: Column) -> Ambiguous:
    return Ambiguous(
        _(
            "{name} could be answers or classes: it holds few short values, again and again.",
            name=one_line(answer.name, 40),
        ),
        where=sample.where,
        hint=advise(
            N_(
                "Learn to write them with {answers}; they are classes with {command}.",
                answers=setting({"data.format": "prompt_response"}),
                command=setting(
                    {
                        "task": "classification",
                        "data.columns": {"text": prompt.name, "label": answer.name},
                    }
                ),
            )
        ),
        field="data.format",
    )


def _known_pair(sample: Sample) -> Match | None:
    for first, second in PAIRS:
        one, two = sample.get(first), sample.get(second)
        if one and two and one.mostly("text") and two.mostly("text"):
            roles = {"prompt": one.name, "response": two.name, **sample.optional("system")}
            return Match(roles, 0.95, _why(first, second))
    return None


def _why(prompt: str, answer: str) -> str:
    return _("{prompt} asks and {answer} answers", prompt=prompt, answer=answer)


def _looks_like_class(column: Column, rows: int) -> bool:
    """Few short values that come again and again are classes, not answers."""
    return (
        rows >= 20 and len(column.values) <= max(2, rows // 10) and column.mean_length < 30
    ) and column.plain in ("target", "answer", "output")


FORMATS = (PromptResponse(),)

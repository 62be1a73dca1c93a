"""Turns a row into a model's input: a chat, a text, a pair, words, or a question about a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import find_tools
from tui_tuner.data.formats.parts.chat_turns import (
    read_chat_history,
    read_prompt_turns,
    read_system_message,
    read_turns,
)
from tui_tuner.data.formats.parts.columns import parse_if_json
from tui_tuner.data.formats.parts.values import read_text_value
from tui_tuner.data.formats.qa import CONTEXT, QUESTION
from tui_tuner.data.records import (
    Chat,
    LabelledText,
    Message,
    Question,
    Record,
    TaggedText,
    Text,
    list_record_texts,
)
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.template import Template, parse_template
from tui_tuner.inference.predicting.wording import CARP, CARP_PROMPT, LABEL_PROMPT
from tui_tuner.locales import N_

_TEXT = "text"


class InputBuilder:
    """Builds the inputs for the rows of a job.

    Raises:
        UsageError: the braces of the prompt do not match.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.template = _choose_template(job)
        self.own = job.prompt == CARP or (bool(job.labels) and not job.prompt)
        self.fixed = _collect_fixed_values(job)

    @property
    def uses_columns_only(self) -> bool:
        """Return whether the user's own prompt names the columns, so that roles need none."""
        return self.template is not None and not self.own

    def build_input(self, values: dict[str, Any], columns: Mapping[str, str]) -> Record:
        """Build the input for a row.

        Raises:
            RowProblem: it lacks what is needed.
        """
        try:
            record = self._build_record(values, dict(columns))
            # Encoding fails for lone surrogates, which JSON can hold and no tokenizer accepts
            for text in list_record_texts(record):
                if not text.isascii():
                    text.encode()
        except UnicodeEncodeError:
            raise RowProblem(N_("text that is not valid Unicode")) from None
        except RecursionError:
            raise RowProblem(N_("nested too deeply")) from None
        return record

    def _build_record(self, values: dict[str, Any], columns: dict[str, str]) -> Record:
        if self.template is None:
            record = _READERS[name_input_kind(self.job.task_kind)](values, columns)
        elif self.own:
            text = _read_text(values, columns)
            record = Chat([Message("user", self.template.fill_in_values({_TEXT: text}, self.fixed))])
        else:
            record = Chat([Message("user", self.template.fill_in_values(values, self.fixed))])
        system = self.job.system
        if system and isinstance(record, Text):
            # A system prompt needs a chat, even if the row itself is a plain text
            record = Chat([Message("user", record.text)])
        if system and isinstance(record, Chat) and record.messages[0].role != "system":
            record.messages.insert(0, Message("system", system))
        return record


def name_input_kind(kind: TaskKind) -> str:
    """Return the kind of input that a task reads: `chat`, what it decides about, or `plain` text."""
    return "chat" if kind.writes else kind.decides or "plain"


def _choose_template(job: Job) -> Template | None:
    if job.prompt == CARP:
        return parse_template(CARP_PROMPT)
    if job.prompt:
        return parse_template(job.prompt)
    return parse_template(LABEL_PROMPT) if job.labels else None


def _collect_fixed_values(job: Job) -> dict[str, str]:
    found = {}
    if job.labels:
        found["labels"] = ", ".join(job.labels)
    if job.json_keys:
        found["keys"] = ", ".join(job.json_keys)
    return found


def _read_text(values: dict[str, Any], columns: dict[str, str]) -> str:
    value = values.get(columns[_TEXT])
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return read_text_value(value, troubles.TEXT)


def _build_chat(values: dict[str, Any], columns: dict[str, str]) -> Record:
    """Return the turns before the answer; an answer at the end is dropped, as it is to be predicted."""
    if "messages" in columns:
        messages = read_turns(values.get(columns["messages"]))
        if not messages or messages[0].role != "system":
            messages = read_system_message(values, columns) + messages
    elif "prompt" in columns:
        prompt = read_prompt_turns(values, columns)
        messages = read_system_message(values, columns) if prompt[0].role != "system" else []
        messages += _build_history(values, columns) + prompt
    else:
        before = read_system_message(values, columns) + _build_history(values, columns)
        text = _read_text(values, columns)
        if not before and "tools" not in columns:
            return Text(text)
        messages = [*before, Message("user", text)]
    # Files for training contain the answer that is to be predicted
    if messages[-1].role == "assistant":
        messages = messages[:-1]
    if not any(message.role != "system" for message in messages):
        raise RowProblem(N_("the chat asks nothing"))
    return Chat(messages, find_tools(values, columns))


def _build_history(values: dict[str, Any], columns: dict[str, str]) -> list[Message]:
    rounds = read_chat_history(values.get(columns["history"])) if "history" in columns else []
    return [
        message
        for question, answer in rounds
        for message in (Message("user", question), Message("assistant", answer))
    ]


def _build_labelled(values: dict[str, Any], columns: dict[str, str]) -> Record:
    text = read_text_value(values.get(columns["text"]), troubles.TEXT)
    return LabelledText(
        text, None, read_text_value(values.get(columns["pair"]), troubles.TEXT) if "pair" in columns else None
    )


def _build_plain(values: dict[str, Any], columns: dict[str, str]) -> Record:
    return Text(_read_text(values, columns))


def _build_tagged(values: dict[str, Any], columns: dict[str, str]) -> Record:
    if "tokens" not in columns:
        return Text(_read_text(values, columns))
    tokens = parse_if_json(values.get(columns["tokens"]))
    if tokens == []:
        raise RowProblem(N_("the row has no words"))
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise RowProblem(N_("the tokens are not a list of texts"))
    return TaggedText(tokens, [])


def _build_question(values: dict[str, Any], columns: dict[str, str]) -> Record:
    return Question(
        read_text_value(values.get(columns["question"]), QUESTION),
        read_text_value(values.get(columns["context"]), CONTEXT),
    )


_READERS = {
    "chat": _build_chat,
    "plain": _build_plain,
    "text": _build_labelled,
    "token": _build_tagged,
    "span": _build_question,
}

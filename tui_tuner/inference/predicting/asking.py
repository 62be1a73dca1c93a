"""From a row to what a model is asked: turns of a chat, a text, a pair, words, or a question about a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.config.kinds import TaskKind
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import tools_in
from tui_tuner.data.formats.parts.columns import loads_if_json
from tui_tuner.data.formats.parts.turns import history_of, prompt_of, system_of, turns_of
from tui_tuner.data.formats.parts.values import text_of
from tui_tuner.data.formats.qa import CONTEXT, QUESTION
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Labelled, Message, Question, Record, Tagged, Text, texts_of
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.template import Template, parse_template
from tui_tuner.inference.predicting.wording import CARP, CARP_PROMPT, LABEL_PROMPT
from tui_tuner.locales import N_

_TEXT = "text"


class Asking:
    """Makes what a model is asked of the rows of a job.

    Raises:
        UsageError: the prompt's braces do not close.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.template = _template_of(job)
        self.own = job.prompt == CARP or (bool(job.labels) and not job.prompt)
        self.fixed = _fixed(job)

    @property
    def columns_alone(self) -> bool:
        """Whether a prompt of the user's names the columns, so that no role needs one."""
        return self.template is not None and not self.own

    def ask(self, values: dict[str, Any], columns: Mapping[str, str]) -> Record:
        """What is asked of a row.

        Raises:
            RowProblem: it lacks what is needed.
        """
        try:
            record = self._record(values, dict(columns))
            for text in texts_of(record):
                if not text.isascii():
                    text.encode()
        except UnicodeEncodeError:
            raise RowProblem(N_("text that is not valid Unicode")) from None
        except RecursionError:
            raise RowProblem(N_("nested too deeply")) from None
        return record

    def _record(self, values: dict[str, Any], columns: dict[str, str]) -> Record:
        if self.template is None:
            record = _READERS[reads(self.job.kind)](values, columns)
        elif self.own:
            text = _worded(values, columns)
            record = Chat([Message("user", self.template.fill({_TEXT: text}, self.fixed))])
        else:
            record = Chat([Message("user", self.template.fill(values, self.fixed))])
        system = self.job.system
        if system and isinstance(record, Text):
            record = Chat([Message("user", record.text)])
        if system and isinstance(record, Chat) and record.messages[0].role != "system":
            record.messages.insert(0, Message("system", system))
        return record


def reads(kind: TaskKind) -> str:
    """A word for what a task reads of a row."""
    return "chat" if kind.writes else kind.decides


def _template_of(job: Job) -> Template | None:
    if job.prompt == CARP:
        return parse_template(CARP_PROMPT)
    if job.prompt:
        return parse_template(job.prompt)
    return parse_template(LABEL_PROMPT) if job.labels else None


def _fixed(job: Job) -> dict[str, str]:
    found = {}
    if job.labels:
        found["labels"] = ", ".join(job.labels)
    if job.json_keys:
        found["keys"] = ", ".join(job.json_keys)
    return found


def _worded(values: dict[str, Any], columns: dict[str, str]) -> str:
    value = values.get(columns[_TEXT])
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return text_of(value, troubles.TEXT)


def _chat(values: dict[str, Any], columns: dict[str, str]) -> Record:
    """The turns up to where the answer is to be; an answer at their end is what is to be predicted."""
    if "messages" in columns:
        messages = turns_of(values.get(columns["messages"]))
        if not messages or messages[0].role != "system":
            messages = system_of(values, columns) + messages
    elif "prompt" in columns:
        prompt = prompt_of(values, columns)
        messages = system_of(values, columns) if prompt[0].role != "system" else []
        messages += _earlier(values, columns) + prompt
    else:
        before = system_of(values, columns) + _earlier(values, columns)
        text = _worded(values, columns)
        if not before and "tools" not in columns:
            return Text(text)
        messages = [*before, Message("user", text)]
    if messages[-1].role == "assistant":
        messages = messages[:-1]
    if not any(message.role != "system" for message in messages):
        raise RowProblem(N_("the chat asks nothing"))
    return Chat(messages, tools_in(values, columns))


def _earlier(values: dict[str, Any], columns: dict[str, str]) -> list[Message]:
    rounds = history_of(values.get(columns["history"])) if "history" in columns else []
    return [
        message
        for question, answer in rounds
        for message in (Message("user", question), Message("assistant", answer))
    ]


def _labelled(values: dict[str, Any], columns: dict[str, str]) -> Record:
    text = text_of(values.get(columns["text"]), troubles.TEXT)
    return Labelled(
        text, None, text_of(values.get(columns["pair"]), troubles.TEXT) if "pair" in columns else None
    )


def _tagged(values: dict[str, Any], columns: dict[str, str]) -> Record:
    if "tokens" not in columns:
        return Text(_worded(values, columns))
    tokens = loads_if_json(values.get(columns["tokens"]))
    if tokens == []:
        raise RowProblem(N_("the row has no words"))
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise RowProblem(N_("the tokens are not a list of texts"))
    return Tagged(tokens, [])


def _asked(values: dict[str, Any], columns: dict[str, str]) -> Record:
    return Question(
        text_of(values.get(columns["question"]), QUESTION), text_of(values.get(columns["context"]), CONTEXT)
    )


_READERS = {"chat": _chat, "text": _labelled, "token": _tagged, "span": _asked}

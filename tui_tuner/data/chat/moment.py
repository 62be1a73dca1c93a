"""The moment a chat template is rendered at.

Some templates write today's date into every chat (`strftime_now`). A run renders with one moment from its
first row to its last, and a resumed one with the moment it began with; the moment is kept on the tokenizer,
which goes to other processes with it. Without one, templates write the date of now.

transformers gives `strftime_now` to each template as a global of its environment, and makes plain values of
all keywords (a function becomes the text "<function>"), so the global is replaced by one that knows the
moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any

FUNCTION = "strftime_now"
_ATTRIBUTE = "tui_tuner_moment"
_moment: ContextVar[datetime | None] = ContextVar("moment", default=None)


def now() -> datetime:
    """This second, as templates would be told it: local time, without a zone."""
    text = _compiled("{{ strftime_now('%Y-%m-%dT%H:%M:%S') }}").render()
    return datetime.fromisoformat(text)


def moment_of(tokenizer: Any) -> datetime | None:
    """The moment this tokenizer's template is rendered at; None is now."""
    found: datetime | None = getattr(tokenizer, _ATTRIBUTE, None)
    return found


def set_moment(tokenizer: Any, moment: datetime | None) -> None:
    """Render this tokenizer's template at that moment from here on; None is now, whenever that is."""
    setattr(tokenizer, _ATTRIBUTE, moment)


@contextmanager
def one_moment(tokenizer: Any) -> Iterator[datetime]:
    """Render everything inside at one moment: the tokenizer's, or now."""
    before = moment_of(tokenizer)
    moment = before or now()
    set_moment(tokenizer, moment)
    try:
        yield moment
    finally:
        set_moment(tokenizer, before)


@contextmanager
def rendering(tokenizer: Any) -> Iterator[None]:
    """What is rendered inside with this tokenizer's template has its moment."""
    from tui_tuner.data.chat.sandbox import install

    install()
    moment = moment_of(tokenizer)
    asking = [text for text in template_texts(tokenizer) if FUNCTION in text] if moment is not None else []
    if not asking:
        yield
        return
    for text in asking:
        _give_moment(text)
    token = _moment.set(moment)
    try:
        yield
    finally:
        _moment.reset(token)


def dates_of(tokenizer: Any, moment: datetime | None = None) -> dict[str, str]:
    """What the tokenizer's templates write of the date: {format: text}; empty where they write none.

    A template that makes a format up as it goes may write anything of the moment, which then stands for it.

    Args:
        moment: None is the tokenizer's own, or now.
    """
    found: dict[str, str] = {}
    for text in template_texts(tokenizer):
        if FUNCTION not in text:
            continue
        moment = moment or moment_of(tokenizer) or now()
        formats = _formats(text)
        if formats is None:
            found[""] = moment.isoformat()
        else:
            found.update({name: moment.strftime(name) for name in formats})
    return found


def template_texts(tokenizer: Any) -> list[str]:
    """The text of its template, or of each of its named templates."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        return [str(text) for text in template.values()]
    return [template] if isinstance(template, str) else []


def _compiled(text: str) -> Any:
    """The template as transformers compiles it, and keeps it for its next use."""
    from tui_tuner.data.chat.sandbox import install

    install()
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(text)


def _give_moment(text: str) -> None:
    """Let a template ask us for the date."""
    from jinja2 import TemplateError

    try:
        known = _compiled(text).environment.globals
    except TemplateError:
        return  # rendering it says what is wrong
    own = known.get(FUNCTION)
    if own is None or hasattr(own, "of_now"):
        return

    def strftime_now(format: str) -> str:
        moment = _moment.get()
        return str(own(format)) if moment is None else moment.strftime(format)

    strftime_now.of_now = own  # type: ignore[attr-defined]
    known[FUNCTION] = strftime_now


@lru_cache
def _formats(text: str) -> frozenset[str] | None:
    """The formats a template asks for a date in; None where they cannot be read off its text."""
    from jinja2 import TemplateError, nodes

    try:
        tree = _compiled(text).environment.parse(text)
    except TemplateError:
        return None
    named = [name for name in tree.find_all(nodes.Name) if name.name == FUNCTION]
    plain = {id(test.node) for test in tree.find_all(nodes.Test) if test.name in ("defined", "callable")}
    asked = {}
    for call in tree.find_all(nodes.Call):
        argument = call.args[0] if len(call.args) == 1 and not call.kwargs else None
        if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
            asked[id(call.node)] = argument.value
    if any(id(name) not in plain and id(name) not in asked for name in named):
        return None
    return frozenset(asked[id(name)] for name in named if id(name) in asked)

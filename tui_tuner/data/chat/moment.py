"""Fix the moment at which chat templates are rendered.

Some templates write today's date into every chat (`strftime_now`). A run renders all rows with one moment,
and a resumed run with the moment at which it began; it is kept on the tokenizer, which takes it along to
other processes. Without one, templates write the current date.

transformers gives `strftime_now` to each template as a global of its environment, and turns all keywords into
plain values (a function becomes the text "<function>"), so the global is replaced by one that knows the
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


def get_current_moment() -> datetime:
    """Return this second as templates get it: local time without a zone."""
    # Asked of the library itself, so that both agree in the zone and in what they round.
    text = _compile_template("{{ strftime_now('%Y-%m-%dT%H:%M:%S') }}").render()
    return datetime.fromisoformat(text)


def get_moment(tokenizer: Any) -> datetime | None:
    """Return the moment at which this tokenizer's template is rendered; None means now."""
    found: datetime | None = getattr(tokenizer, _ATTRIBUTE, None)
    return found


def set_moment(tokenizer: Any, moment: datetime | None) -> None:
    """Render this tokenizer's template at that moment from now on; None means the current time."""
    setattr(tokenizer, _ATTRIBUTE, moment)


@contextmanager
def hold_moment(tokenizer: Any) -> Iterator[datetime]:
    """Render everything inside at one moment: the tokenizer's, or now."""
    before = get_moment(tokenizer)
    moment = before or get_current_moment()
    set_moment(tokenizer, moment)
    try:
        yield moment
    finally:
        set_moment(tokenizer, before)


@contextmanager
def render_at_moment(tokenizer: Any) -> Iterator[None]:
    """Render inside of it with this tokenizer's moment."""
    from tui_tuner.data.chat.sandbox import install_sandbox

    install_sandbox()
    moment = get_moment(tokenizer)
    asking = (
        [text for text in list_template_texts(tokenizer) if FUNCTION in text] if moment is not None else []
    )
    if not asking:
        yield
        return
    for text in asking:
        _give_moment(text)
    # A context variable and not a global: two threads may render with different moments.
    token = _moment.set(moment)
    try:
        yield
    finally:
        _moment.reset(token)


def find_template_dates(tokenizer: Any, moment: datetime | None = None) -> dict[str, str]:
    """Return what the tokenizer's templates write of the date: {format: text}; empty if they write none.

    A template that computes its format may write any part of the moment, so the whole moment is returned.

    Args:
        moment: By default the tokenizer's own, or now.
    """
    found: dict[str, str] = {}
    for text in list_template_texts(tokenizer):
        if FUNCTION not in text:
            continue
        moment = moment or get_moment(tokenizer) or get_current_moment()
        formats = _find_formats(text)
        if formats is None:
            found[""] = moment.isoformat()
        else:
            found.update({name: moment.strftime(name) for name in formats})
    return found


def list_template_texts(tokenizer: Any) -> list[str]:
    """Return the text of a tokenizer's template, or of each of its named templates."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        return [str(text) for text in template.values()]
    return [template] if isinstance(template, str) else []


def _compile_template(text: str) -> Any:
    """Compile a template as transformers does; it is cached there for the next use."""
    from tui_tuner.data.chat.sandbox import install_sandbox

    install_sandbox()
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(text)


def _give_moment(text: str) -> None:
    """Replace the function that gives a template the date."""
    from jinja2 import TemplateError

    try:
        known = _compile_template(text).environment.globals
    except TemplateError:
        # Rendering the template reports what is wrong with it.
        return
    own = known.get(FUNCTION)
    # Replaced already; replacing it twice would nest the functions.
    if own is None or hasattr(own, "of_now"):
        return

    def strftime_now(format: str) -> str:
        moment = _moment.get()
        return str(own(format)) if moment is None else moment.strftime(format)

    strftime_now.of_now = own  # type: ignore[attr-defined]
    known[FUNCTION] = strftime_now


@lru_cache
def _find_formats(text: str) -> frozenset[str] | None:
    """Return the formats in which a template wants the date; None if its text does not show them."""
    from jinja2 import TemplateError, nodes

    try:
        tree = _compile_template(text).environment.parse(text)
    except TemplateError:
        return None
    named = [name for name in tree.find_all(nodes.Name) if name.name == FUNCTION]
    # "strftime_now is defined" only asks whether the function is there.
    plain = {id(test.node) for test in tree.find_all(nodes.Test) if test.name in ("defined", "callable")}
    asked = {}
    for call in tree.find_all(nodes.Call):
        argument = call.args[0] if len(call.args) == 1 and not call.kwargs else None
        if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
            asked[id(call.node)] = argument.value
    if any(id(name) not in plain and id(name) not in asked for name in named):
        return None
    return frozenset(asked[id(name)] for name in named if id(name) in asked)

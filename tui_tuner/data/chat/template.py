"""Rendering with a tokenizer's chat template, each failure in words, and what its tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.moment import rendering, template_texts
from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_TRIES = 5  # of a template that came to no end, one row after another
_costly: dict[str, int] = {}  # of each template, how often it came to no end since it last came to one
MOST_LETTERS = 1 << 18  # of a template; those that are in use have a tenth of that at most


def adds_bos(tokenizer: Any) -> bool:
    """Whether this tokenizer puts its BOS in front of plain text."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        return False
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[0] == bos


def render(
    tokenizer: Any, messages: Sequence[dict[str, Any]], tools: Any = None, generation: bool = False
) -> str:
    """The text of a chat, with the date of the tokenizer's moment (`moment.py`) if the template writes one.

    Raises:
        RowProblem: the template refuses these turns, fails on them, or comes to no end.
        ModelError: it comes to no end on one chat after another.
    """
    from jinja2 import TemplateError

    from tui_tuner.data.chat.meter import TooCostly

    _check_length(tokenizer)
    try:
        with rendering(tokenizer):
            text = tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=generation
            )
    except TooCostly as error:
        _give_up(tokenizer, str(error))
        raise RowProblem(N_("the chat template does not come to an end on these turns"), str(error)) from None
    except TemplateError as error:
        raise RowProblem(N_("the chat template refuses these turns"), one_line(error, 200)) from None
    except RecursionError:
        raise RowProblem(N_("the chat template calls itself without an end")) from None
    except MemoryError:
        raise RowProblem(N_("the chat template wants more memory than there is")) from None
    except Exception as error:  # a template may do whatever Jinja lets it, and fail in any way
        raise RowProblem(N_("the chat template fails on these turns"), one_line(error, 200)) from None
    if _costly:
        _costly.clear()
    return str(text)


def _give_up(tokenizer: Any, problem: str) -> None:
    """End with an error a template that comes to no end on row after row: each costs a second."""
    text = str(getattr(tokenizer, "chat_template", ""))
    _costly[text] = _costly.get(text, 0) + 1
    if _costly[text] >= _TRIES:
        _costly.clear()
        raise ModelError(
            _("the chat template does not come to an end: {problem}.", problem=problem),
            where=one_line(getattr(tokenizer, "name_or_path", "")),
            hint=_("Give another one in model.chat_template."),
            field="model.chat_template",
        ) from None


def _check_length(tokenizer: Any) -> None:
    """Refuse a template whose mere compiling would take seconds."""
    if any(len(text) > MOST_LETTERS for text in template_texts(tokenizer)):
        raise RowProblem(N_("the chat template is longer than 262,144 characters"))


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts of special tokens; what a person wrote should hold none of them."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return [str(token.content) for token in added if token.special and len(str(token.content).strip()) > 2]

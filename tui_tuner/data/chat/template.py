"""Render chats with a tokenizer's chat template; every failure becomes a row's problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.moment import list_template_texts, render_at_moment
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_TRIES = 5  # rows in succession on which a template may exceed its limits
_costly: dict[str, int] = {}  # for each template, how often it did so since a row that it rendered
MOST_LETTERS = 1 << 18  # of a template; published ones have at most a tenth of that


def adds_bos(tokenizer: Any) -> bool:
    """Return whether this tokenizer puts its BOS before plain text."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        return False
    # Tried and not read from a setting: some tokenizers have the setting and do not follow it.
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[0] == bos


def render_chat(
    tokenizer: Any, messages: Sequence[dict[str, Any]], tools: Any = None, generation: bool = False
) -> str:
    """Render a chat at the tokenizer's moment (`moment.py`).

    Raises:
        RowProblem: the template refuses these turns, fails on them, or exceeds its limits.
        ModelError: it exceeds its limits on one chat after another.
    """
    from jinja2 import TemplateError

    from tui_tuner.data.chat.cost_meter import TooCostlyError

    _check_length(tokenizer)
    try:
        with render_at_moment(tokenizer):
            text = tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=generation
            )
    except TooCostlyError as error:
        _count_costly(tokenizer, str(error))
        raise RowProblem(N_("the chat template does not end on these turns"), str(error)) from None
    except TemplateError as error:
        raise RowProblem(N_("the chat template refuses these turns"), one_line(error, 200)) from None
    except RecursionError:
        raise RowProblem(N_("the chat template calls itself without end")) from None
    except MemoryError:
        raise RowProblem(N_("the chat template needs more memory than there is")) from None
    # A template may do anything that Jinja allows, and so fail in any way.
    except Exception as error:
        raise RowProblem(N_("the chat template fails on these turns"), one_line(error, 200)) from None
    if _costly:
        _costly.clear()
    return str(text)


def _count_costly(tokenizer: Any, problem: str) -> None:
    """Raise an error for a template that exceeds its limits on row after row, since each costs a second."""
    text = str(getattr(tokenizer, "chat_template", ""))
    _costly[text] = _costly.get(text, 0) + 1
    if _costly[text] >= _TRIES:
        _costly.clear()
        raise ModelError(
            _("the chat template does not end: {problem}.", problem=problem),
            where=one_line(getattr(tokenizer, "name_or_path", "")),
            hint=_("Set another one in model.chat_template."),
            field="model.chat_template",
        ) from None


def _check_length(tokenizer: Any) -> None:
    """Refuse a template that would take seconds just to compile."""
    if any(len(text) > MOST_LETTERS for text in list_template_texts(tokenizer)):
        raise RowProblem(N_("the chat template is longer than 262,144 characters"))


def list_special_tokens(tokenizer: Any) -> list[str]:
    """List the texts of special tokens, which the text of a person should not contain."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return [str(token.content) for token in added if token.special and len(str(token.content).strip()) > 2]

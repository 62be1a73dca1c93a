"""Rendering with a tokenizer's chat template, each failure in words, and what its tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.moment import rendering
from tui_tuner.data.problems import RowProblem
from tui_tuner.locales import N_
from tui_tuner.text import one_line


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
        RowProblem: the template refuses these turns, or fails on them.
    """
    from jinja2 import TemplateError

    try:
        with rendering(tokenizer):
            text = tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=generation
            )
    except TemplateError as error:
        raise RowProblem(N_("the chat template refuses these turns"), one_line(error, 200)) from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise RowProblem(N_("the chat template fails on these turns"), one_line(error, 200)) from None
    except RecursionError:
        raise RowProblem(N_("the chat template calls itself without an end")) from None
    except MemoryError:
        raise RowProblem(N_("the chat template wants more memory than there is")) from None
    return str(text)


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts of special tokens; what a person wrote should hold none of them."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return [str(token.content) for token in added if token.special and len(str(token.content).strip()) > 2]

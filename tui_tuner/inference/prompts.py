"""Turns the messages of a chat into the tokens of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.inference.loading import LoadedModel
from tui_tuner.locales import _
from tui_tuner.text import one_line

Turn = dict[str, Any]  # role: system, user or assistant; content


def encode_chat_prompt(loaded: LoadedModel, turns: Sequence[Turn]) -> list[int]:
    """Encode a chat up to the start of the answer, with the model's chat template.

    A model without a template continues the plain text of all messages.

    Raises:
        UsageError: the template refuses these turns.
    """
    tokenizer = loaded.tokenizer
    # The tokenizer adds its own special tokens here, as there is no template to write them
    if not has_prompt_template(tokenizer):
        return list(tokenizer("".join(str(turn["content"]) for turn in turns))["input_ids"])
    try:
        text = render_chat(tokenizer, list(turns), generation=True)
    except RowProblem as problem:
        hint = _("Leave out the system prompt.") if any(turn["role"] == "system" for turn in turns) else ""
        raise UsageError(f"{problem}.", where=one_line(loaded.origin.name), hint=hint) from None
    # Templates write their special tokens themselves; the tokenizer would add a second set
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def has_prompt_template(tokenizer: Any) -> bool:
    """Return whether a tokenizer has a chat template; without one, the model continues text."""
    return bool(getattr(tokenizer, "chat_template", None))


def list_prompt_tokens(loaded: LoadedModel, ids: Sequence[int]) -> list[tuple[int, str, bool]]:
    """Return (id, text, whether it is special) of each token of a prompt."""
    special = set(loaded.tokenizer.all_special_ids)
    return [(int(one), str(loaded.tokenizer.decode([one])), int(one) in special) for one in ids]

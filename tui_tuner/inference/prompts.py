"""From the turns of a chat to the tokens that a model is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.template import render
from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.inference.loading import Loaded
from tui_tuner.locales import _
from tui_tuner.text import one_line

Turn = dict[str, Any]  # role: system, user or assistant; content


def encode_chat(loaded: Loaded, turns: Sequence[Turn]) -> list[int]:
    """Token ids of a chat up to where the answer begins, as the model's chat template writes it.

    A model without a template goes on with the text itself: what was said so far, one after the other.

    Raises:
        UsageError: the template refuses these turns.
    """
    tokenizer = loaded.tokenizer
    if not has_template(tokenizer):
        return list(tokenizer("".join(str(turn["content"]) for turn in turns))["input_ids"])
    try:
        text = render(tokenizer, list(turns), generation=True)
    except RowProblem as problem:
        hint = _("Leave the system prompt out.") if any(turn["role"] == "system" for turn in turns) else ""
        raise UsageError(f"{problem}.", where=one_line(loaded.origin.name), hint=hint) from None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def has_template(tokenizer: Any) -> bool:
    """Whether turns can be told apart; else the model goes on with a text."""
    return bool(getattr(tokenizer, "chat_template", None))


def show_tokens(loaded: Loaded, ids: Sequence[int]) -> list[tuple[int, str, bool]]:
    """(id, text, whether it is a special token) of each token of a prompt."""
    special = set(loaded.tokenizer.all_special_ids)
    return [(int(one), str(loaded.tokenizer.decode([one])), int(one) in special) for one in ids]

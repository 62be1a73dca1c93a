"""Let a trained model rewrite the user's own text."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.generation import generate_answers
from tui_tuner.evaluation.samples import ShownSample
from tui_tuner.locales import _
from tui_tuner.tasks.rewriting.source_texts import encode_source


def rewrite_text(config: RunConfig, model: Any, tokenizer: Any, text: str) -> ShownSample:
    """Return what the model writes for a text.

    Raises:
        UsageError: the text is empty or too long, or there is no answer to it.
    """
    if not text.strip():
        raise UsageError(_("the text is empty."), where="--text")
    ids, count = encode_source(config, tokenizer, text)
    if count > len(ids):
        raise UsageError(
            _(
                "the text has {count:,} tokens, but the model was trained on {most:,} (data.max_source).",
                count=count,
                most=config.data.max_source,
            ),
            where="--text",
            hint=_("Shorten it; `tui-tuner predict` cuts such texts at their end, as training does."),
        )
    (found,) = generate_answers(model, tokenizer, [ids], config.evaluation.max_new_tokens)
    if found.note and not found.ids:
        raise UsageError(f"{found.note}.", where="--text")
    return ShownSample(text, found.text, stopped=found.stopped)

"""Let a model fill in the mask tokens of texts: on request, and before, during and after training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.masking.special_tokens import SpecialTokens
from tui_tuner.data.records import Record, list_record_texts
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, SampleSource, ShownSample, Stage
from tui_tuner.locales import N_, _
from tui_tuner.models.evaluation_mode import use_evaluation_mode

SHOWN = 5  # tokens for each mask
LONGEST = 64  # tokens of a held-out text that is shown
SHORTEST = 4  # letters of a word that is hidden in it, if there is one
_SPELLINGS = re.compile(r"\[MASK\]|<mask>", re.IGNORECASE)


@dataclass(frozen=True)
class FilledText:
    """A text with mask tokens, and what a model puts there.

    Args:
        prompt: The text with the mask token of this model.
        masks: For each mask, the likeliest tokens with their probabilities, best first.
        filled: The text with the likeliest token at each mask.
    """

    prompt: str
    masks: list[list[tuple[str, float]]]
    filled: str

    def show_sample(self, reference: str = "") -> ShownSample:
        best = ", ".join(tokens[0][0] for tokens in self.masks)
        return ShownSample(self.prompt, best, reference, scores=self.masks[0], further=self.masks[1:])


class FilledTexts(SampleSource):
    """Shows the user's texts with masks, and held-out texts of which one token is hidden, always the same."""

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.own = [text for text in config.evaluation.prompts or [] if text.strip()]
        blocks = pick_held_out_blocks(held_out, config.evaluation.samples, config.data.seed)
        texts = [hide_one_token(tokenizer, block, config.data.seed) for block in blocks]
        self.texts = [(text, "") for text in self.own] + [found for found in texts if found is not None]

    def collect_samples(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        texts = self.texts[:DURING] if stage == "during" else self.texts
        if not texts:
            return None
        shown, notes = [], []
        for done, (text, reference) in enumerate(texts):
            progress(done, len(texts))
            try:
                found = fill_masks(self.config, model, self.tokenizer, text)
                shown.append(found.show_sample(reference))
            except UsageError as error:
                notes.append(error.what)
        return SampleReport(shown, notes=notes)


def pick_held_out_blocks(rows: TokenizedRows | None, count: int, seed: int) -> list[list[int]]:
    """Return the ids of up to `count` held-out blocks in a seeded order, those of different rows first."""
    if rows is None or count <= 0:
        return []
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    firsts = list({rows.row_of_example(index): index for index in reversed(order)}.values())[::-1]
    chosen = [*firsts, *(index for index in order if index not in set(firsts))][:count]
    return [rows[index].ids.tolist() for index in chosen]


def hide_one_token(tokenizer: Any, block: list[int], seed: int) -> tuple[str, str] | None:
    """Return the beginning of a block as text with one token hidden, and this token; None if there is none.

    Args:
        block: Ids, with the special tokens around the text.
    """
    special = SpecialTokens(tokenizer)
    front, back = special.find_around()
    ids = block[len(front) : len(block) - len(back)][:LONGEST]
    places = np.flatnonzero(~np.isin(np.asarray(ids), special.ids))
    if not len(places):
        return None
    # A word says more about a model than a full stop or an article.
    words = [place for place in places.tolist() if _is_whole_word(tokenizer, ids, place)]
    place = int(np.random.default_rng(seed).choice(words or places))
    hidden = [*ids[:place], tokenizer.mask_token_id, *ids[place + 1 :]]
    return str(tokenizer.decode(hidden)), _name_token(tokenizer, ids[place])


def spell_masks(tokenizer: Any, text: str) -> str:
    """Return a text with the mask token of this tokenizer in the place of `[MASK]` and `<mask>`."""
    return _SPELLINGS.sub(lambda _found: str(tokenizer.mask_token), text)


def fill_masks(config: RunConfig, model: Any, tokenizer: Any, text: str) -> FilledText:
    """Return what a model puts at the mask tokens of a text. The model's mode is restored.

    Raises:
        UsageError: the text has no mask token, or is longer than `max_length`.
    """
    import torch

    prompt = spell_masks(tokenizer, text)
    ids = list(tokenizer(prompt)["input_ids"])
    places = [place for place, token in enumerate(ids) if token == tokenizer.mask_token_id]
    if not places:
        raise UsageError(
            _("the text has no mask token."),
            where="--text",
            hint=_("Write {token} where the model shall guess.", token=tokenizer.mask_token),
        )
    if len(ids) > config.data.max_length:
        raise UsageError(
            _(
                "the text has {tokens:,} tokens, and data.max_length allows {most:,}.",
                tokens=len(ids),
                most=config.data.max_length,
            ),
            where="--text",
        )
    given = torch.tensor([ids], device=model.get_input_embeddings().weight.device)
    with torch.no_grad(), use_evaluation_mode(model):
        logits = model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0]
    # Virtual tokens come before the text.
    chances = logits[-len(ids) :][places].double().softmax(-1)
    scores, tokens = (found.tolist() for found in chances.topk(min(SHOWN, chances.shape[-1])))
    masks = [
        [(_name_token(tokenizer, token), score) for token, score in zip(*one, strict=True)]
        for one in zip(tokens, scores, strict=True)
    ]
    for place, best in zip(places, tokens, strict=True):
        ids[place] = best[0]
    return FilledText(prompt, masks, str(tokenizer.decode(ids, skip_special_tokens=True)))


def predict_masks(
    config: RunConfig, model: Any, tokenizer: Any, rows: Sequence[Record], batch_size: int
) -> list[Any]:
    """Return `{text, masks}` of each row: the text filled in, and the likeliest tokens at each mask."""
    found: list[Any] = []
    for row in rows:
        try:
            filled = fill_masks(config, model, tokenizer, "\n".join(list_record_texts(row)))
        except UsageError as error:
            found.append(RowProblem(N_("the model cannot read this row"), error.what))
            continue
        masks = [[{"token": token, "score": score} for token, score in one] for one in filled.masks]
        found.append({"text": filled.filled, "masks": masks})
    return found


def _name_token(tokenizer: Any, token: int) -> str:
    """Return a token as text; the vocabulary's entry for one that is no text, or continues a word."""
    entry = str(tokenizer.convert_ids_to_tokens(token))
    text = str(tokenizer.decode([token])).strip()
    return entry if not text or "\ufffd" in text or entry.startswith("##") else text


def _is_whole_word(tokenizer: Any, ids: list[int], place: int) -> bool:
    """Return whether a token is a word of some letters, and neither of its neighbours belongs to it."""
    word = str(tokenizer.decode([ids[place]])).strip()
    if not (word.isalpha() and len(word) >= SHORTEST):
        return False
    around = str(tokenizer.decode(ids[max(0, place - 1) : place + 2]))
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", around) is not None

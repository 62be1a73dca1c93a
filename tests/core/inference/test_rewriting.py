"""Answers of models with an encoder and a decoder, compared with those of plain transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from tui_tuner.evaluation.generation import generate_answers
from tui_tuner.evaluation.writing.decoder_writer import DecoderWriter

WORDS, WIDTH, POSITIONS = 40, 32, 48
SOURCES = [[5, 9, 11, 2], [7, 8], list(range(3, 30)), [21, 22, 23, 24, 25, 26, 2], [7, 8, 9]]


class Numbers:
    """A tokenizer whose words are the numbers of its tokens."""

    eos_token_id, pad_token_id, chat_template = 2, 1, None

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return " ".join(str(token) for token in ids if token > 2)


def _make_model(kind: str) -> Any:
    torch.manual_seed(11)
    ends = {"vocab_size": WORDS, "pad_token_id": 1, "eos_token_id": 2}
    if kind == "t5":
        model: Any = T5ForConditionalGeneration(
            T5Config(
                **ends,
                d_model=WIDTH,
                d_ff=WIDTH,
                d_kv=16,
                num_layers=2,
                num_heads=2,
                decoder_start_token_id=1,
                tie_word_embeddings=False,
            )
        )
    else:
        size = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _SIZE.items()}
        model = BartForConditionalGeneration(
            BartConfig(**ends, **size, d_model=WIDTH, max_position_embeddings=POSITIONS, bos_token_id=0)
        )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.4)
            elif name.endswith("bias"):
                weight.normal_(std=0.2)
    return model.eval()


_SIZE = {"layers": 2, "attention_heads": 2, "ffn_dim": WIDTH}
_GREEDY: dict[str, Any] = {"max_length": 24}
_BEAMS = {
    "num_beams": 4,
    "length_penalty": 2.0,
    "no_repeat_ngram_size": 2,
    "min_length": 6,
    "max_length": 20,
    "early_stopping": True,
}


def _generate_plainly(model: Any, source: list[int], most: int) -> list[int]:
    """What transformers writes for one source by the model's own config, limited like an evaluation."""
    own = model.generation_config.max_length
    with torch.no_grad():
        found = model.generate(
            input_ids=torch.tensor([source]),
            attention_mask=torch.ones((1, len(source)), dtype=torch.long),
            max_new_tokens=min(most, own - 1) if own else most,
        )
    written = found[0, 1:].tolist()
    return written[: written.index(2)] if 2 in written else written


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("settings", [_GREEDY, _BEAMS, {"do_sample": False, "forced_bos_token_id": 7}])
def test_answers_are_those_of_transformers_token_by_token(kind: str, settings: dict[str, Any]) -> None:
    model = _make_model(kind)
    # In 64 bits, padding cannot decide between two words that are nearly equally likely
    model = model.double()
    model.generation_config.update(**settings)
    before = model.generation_config.to_dict()
    found = generate_answers(model, Numbers(), SOURCES, 30, batch_size=3)
    assert [one.ids for one in found] == [_generate_plainly(model, source, 30) for source in SOURCES]
    assert len({tuple(one.ids) for one in found}) > 1
    assert model.generation_config.to_dict() == before
    # The same again, and alone
    assert generate_answers(model, Numbers(), SOURCES, 30, batch_size=1) == found
    own = settings.get("max_length", 100) - 1
    for one in found:
        assert one.stopped == (len(one.ids) < min(30, own) - (kind == "bart"))
        assert one.stopped or own >= 30 or f"at most {own} tokens" in one.note


def test_a_model_that_must_write_more_than_is_wanted_is_limited() -> None:
    model = _make_model("bart")
    model.generation_config.update(min_length=30, max_length=40, num_beams=2)
    found = generate_answers(model, Numbers(), SOURCES, 8)
    # The eighth token is the end that BART is forced to write: it has not stopped by itself
    assert all(len(one.ids) == 7 and not one.stopped for one in found)


def test_sources_and_answers_have_the_limits_of_the_model() -> None:
    bart, t5 = _make_model("bart"), _make_model("t5")
    long = [5] * (POSITIONS + 1)
    found = generate_answers(bart, Numbers(), [long, [5, 6], []], 3 * POSITIONS)
    assert f"longer than the {POSITIONS} tokens" in found[0].note and not found[0].ids
    assert len(found[1].ids) < POSITIONS and found[2].note == "the prompt is empty"
    assert not generate_answers(t5, Numbers(), [long], 3)[0].note
    assert DecoderWriter(t5, Numbers()).stops == [2]


def test_a_config_that_samples_does_so_alike_each_time_and_leaves_other_numbers_alone() -> None:
    model = _make_model("t5")
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=0, decoder_start_token_id=1, eos_token_id=2, pad_token_id=1
    )
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = generate_answers(model, Numbers(), SOURCES, 12)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert generate_answers(model, Numbers(), SOURCES, 12) == found
    model.generation_config.do_sample = False
    assert generate_answers(model, Numbers(), SOURCES, 12) != found

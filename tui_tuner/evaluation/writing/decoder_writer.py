"""Answers of models with an encoder and a decoder, by the model's own generation config."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tui_tuner.evaluation.writing.answers import GeneratedAnswer, SamplingSettings, cut_answer, make_noise
from tui_tuner.evaluation.writing.stop_tokens import find_stop_tokens, read_token_ids
from tui_tuner.evaluation.writing.writer import AtToken, Writer, make_token_watch
from tui_tuner.locales import _

SEED = 0  # of models whose config samples
START = 1  # tokens that a decoder begins with


class DecoderWriter(Writer):
    """Writes what a decoder makes of sources, which are padded on the right as in training.

    Beams, length penalty, least and greatest length, and forced first and last tokens are those of the
    model's generation config. A config that samples does so from a fixed seed.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        own = getattr(model.generation_config, "eos_token_id", None)
        self.stops = sorted(read_token_ids(own) or find_stop_tokens(model, tokenizer))
        self.read_most, self.write_most = find_side_lengths(model)

    def find_problem(self, prompt: Sequence[int]) -> str:
        if self.read_most is None or len(prompt) + self.virtual <= self.read_most:
            return ""
        return _("the source is longer than the {most} tokens that the model can read", most=self.read_most)

    def answer_batch(
        self,
        prompts: list[Sequence[int]],
        max_new_tokens: int,
        at_token: AtToken,
        drawing: SamplingSettings | None = None,
    ) -> list[GeneratedAnswer]:
        import torch

        longest, pad = max(map(len, prompts)), self.find_padding()
        ids = [list(prompt) + [pad] * (longest - len(prompt)) for prompt in prompts]
        seen = [[1] * len(prompt) + [0] * (longest - len(prompt)) for prompt in prompts]
        device = self.model.get_input_embeddings().weight.device
        config = self._limit_config(max_new_tokens)
        room = int(config.max_new_tokens)
        noise = {}
        if drawing is not None:
            # The noise makes the likeliest token a sampled one, so nothing else may choose.
            config.do_sample, config.num_beams = False, 1
            noise = {"logits_processor": make_noise(drawing, device)}
        with torch.no_grad(), _draw_from_seed(bool(config.do_sample), device):
            output = self.model.generate(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=torch.tensor(seen, device=device),
                generation_config=config,
                stopping_criteria=make_token_watch(at_token, START, room),
                **noise,
            )
        note = (
            ""
            if room == max_new_tokens
            else _("cut short: the model writes at most {most} tokens", most=room)
        )
        written = output[:, START:].tolist()
        return [self._read_answer(row, room, config, note) for row in written]

    def _limit_config(self, max_new_tokens: int) -> Any:
        """Return the model's generation config with no more tokens than wanted and than it allows itself."""
        config = copy.deepcopy(self.model.generation_config)
        # max_length counts the token that the decoder begins with.
        own = config.max_new_tokens or (config.max_length - START if config.max_length else None)
        limits = [one for one in (own, self.write_most) if one is not None and one > 0]
        config.max_new_tokens, config.max_length = min([max_new_tokens, *limits]), None
        # A model that must write 56 tokens cannot be limited to 20 otherwise.
        if config.min_length:
            config.min_length = min(config.min_length, config.max_new_tokens + START)
        if config.min_new_tokens:
            config.min_new_tokens = min(config.min_new_tokens, config.max_new_tokens)
        config.eos_token_id = self.stops or None
        config.num_return_sequences = 1
        return config

    def _read_answer(self, ids: list[int], room: int, config: Any, note: str) -> GeneratedAnswer:
        found = cut_answer(ids, self.tokenizer, set(self.stops), note)
        forced = read_token_ids(config.forced_eos_token_id)
        # The last token that there was room for was not the model's choice.
        if found.stopped and forced and len(found.ids) == room - 1:
            return GeneratedAnswer(found.ids, found.text, False, note)
        return found


def find_side_lengths(model: Any) -> tuple[int | None, int | None]:
    """Return the longest source and the longest answer in tokens, None where the model has no limit.

    T5 has none, as its positions are distances; its `n_positions` is what it was trained with.
    """
    config = model.config
    both = getattr(config, "max_position_embeddings", None)
    reads = getattr(config, "max_encoder_position_embeddings", both)
    writes = getattr(config, "max_decoder_position_embeddings", both)
    return reads, None if writes is None else writes - START


@contextmanager
def _draw_from_seed(draws: bool, device: Any) -> Iterator[None]:
    """Draw random numbers from a fixed seed, and leave those of the training as they were."""
    import torch

    if not draws:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        yield

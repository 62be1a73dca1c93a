"""Answers of models with a decoder alone: greedy or sampled, ended by any stop token the model knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.evaluation.writing.answers import GeneratedAnswer, SamplingSettings, cut_answer, make_noise
from tui_tuner.evaluation.writing.stop_tokens import find_context_length, find_stop_tokens
from tui_tuner.evaluation.writing.writer import AtToken, Writer, make_token_watch
from tui_tuner.locales import _


class CausalWriter(Writer):
    """Continues prompts, which are padded on the left."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        self.stops = sorted(find_stop_tokens(model, tokenizer))
        context = find_context_length(model)
        self.context = None if context is None else context - self.virtual

    def find_problem(self, prompt: Sequence[int]) -> str:
        if self.context is None or len(prompt) < self.context:
            return ""
        return _("the prompt fills the context of {context} tokens", context=self.context)

    def answer_batch(
        self,
        prompts: list[Sequence[int]],
        max_new_tokens: int,
        at_token: AtToken,
        drawing: SamplingSettings | None = None,
    ) -> list[GeneratedAnswer]:
        import torch
        from transformers import GenerationConfig

        longest = max(map(len, prompts))
        room = max_new_tokens if self.context is None else min(max_new_tokens, self.context - longest)
        pad = self.find_padding()
        ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        seen = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        device = self.model.get_input_embeddings().weight.device
        # Every setting that could make it anything but greedy is set here, because transformers fills in the
        # others from the model's own generation config.
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            min_new_tokens=0,
            max_new_tokens=room,
            max_length=None,
            eos_token_id=self.stops or None,
            pad_token_id=pad,
            use_cache=True,
        )
        with torch.no_grad():
            output = self.model.generate(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=torch.tensor(seen, device=device),
                generation_config=config,
                stopping_criteria=make_token_watch(at_token, longest, room),
                **({} if drawing is None else {"logits_processor": make_noise(drawing, device)}),
            )
        note = (
            ""
            if room == max_new_tokens
            else _("cut short: the context of {context} tokens is full", context=self.context)
        )
        stops = set(self.stops)
        return [cut_answer(row, self.tokenizer, stops, note) for row in output[:, longest:].tolist()]

"""Generated answers, and how their tokens are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class GeneratedAnswer:
    """One generated answer.

    Args:
        ids: Its tokens, without the stop token that ended it.
        text: The tokens as text, without special tokens.
        stopped: Whether a stop token ended it; False at the length limit.
        note: Why there is no answer, or only a shorter one; empty otherwise.
        short_of_memory: There is no answer or a shorter one because memory ran out; it does not describe the
            model.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    stopped: bool = False
    note: str = ""
    short_of_memory: bool = False


@dataclass(frozen=True)
class SamplingSettings:
    """Settings for sampling tokens. The result for a prompt does not depend on the other prompts.

    Args:
        temperature: Above 0.
        seeds: A random seed for each prompt.
    """

    temperature: float
    seeds: Sequence[int]

    def for_prompts(self, places: Sequence[int]) -> SamplingSettings:
        """Return the settings for some of the prompts."""
        return SamplingSettings(self.temperature, [self.seeds[place] for place in places])


def cut_answer(ids: list[int], tokenizer: Any, stops: set[int], note: str) -> GeneratedAnswer:
    """Return the answer up to its first stop token."""
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    kept = ids if end is None else ids[:end]
    text = tokenizer.decode(kept, skip_special_tokens=True).strip()
    return GeneratedAnswer(kept, text, end is not None, note if end is None else "")


def make_noise(drawing: SamplingSettings, device: Any) -> Any:
    """Return processors that make the likeliest token a sampled one: Gumbel noise from each row's own seed.

    The maximum of logits / temperature - log(E), with E of the exponential distribution, is distributed as
    the softmax of logits / temperature (Gumbel's trick).
    """
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    generators = [torch.Generator(device).manual_seed(seed) for seed in drawing.seeds]

    class Noise(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            noise = torch.empty_like(scores, dtype=torch.float32)
            for row, generator in zip(noise, generators, strict=True):
                row.exponential_(generator=generator)
            # The exponential distribution can return 0 in float32, whose logarithm would be -inf.
            least = torch.finfo(torch.float32).tiny
            return scores.float() / drawing.temperature - noise.clamp_min_(least).log_()

    return LogitsProcessorList([Noise()])

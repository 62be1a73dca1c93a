"""The interface of what writes answers to a batch of prompts with one kind of model: implement this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from tui_tuner.evaluation.writing.answers import GeneratedAnswer, SamplingSettings
from tui_tuner.methods.attached import count_virtual_tokens

# Called for each token with what was written so far [answers, tokens] and the most tokens of an answer
AtToken = Callable[[Any, int], None]


class Writer(ABC):
    """Writes the answers of one model.

    Attributes:
        stops: The ids of the tokens that end an answer.
        virtual: The number of virtual tokens before each prompt.
    """

    stops: list[int]

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.virtual = count_virtual_tokens(model)

    @abstractmethod
    def find_problem(self, prompt: Sequence[int]) -> str:
        """Return why there can be no answer to a prompt; empty if there can be one."""

    @abstractmethod
    def answer_batch(
        self,
        prompts: list[Sequence[int]],
        max_new_tokens: int,
        at_token: AtToken,
        drawing: SamplingSettings | None = None,
    ) -> list[GeneratedAnswer]:
        """Answer prompts together, in their order.

        Args:
            drawing: How to sample tokens; None follows the kind of model.
        """

    def find_padding(self) -> int:
        """Return the id that fills up shorter prompts."""
        pad: int | None = self.tokenizer.pad_token_id
        # Any id will do, as the mask hides it; a tokenizer without one must not fail here.
        return pad if pad is not None else (self.stops[0] if self.stops else 0)


def make_token_watch(at_token: AtToken, begun: int, most: int) -> Any:
    """Return stopping criteria that never stop but call `at_token` for each token; it may raise.

    Args:
        begun: Tokens at the start of each sequence that were not written by the model.
    """
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watch(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **_more: Any) -> Any:
            at_token(input_ids[:, begun:], most)
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Watch()])

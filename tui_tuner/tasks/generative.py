"""What tasks have in common whose models write text: next-token loss, stop tokens, answers to prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Example, next_token_mask
from tui_tuner.locales import _
from tui_tuner.tasks.base import Task

if TYPE_CHECKING:
    import numpy as np

    from tui_tuner.data.examples.encoder import Facts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import Samples
    from tui_tuner.objectives.base import Objective


class GenerativeTask(Task):
    """A task that trains a causal language model."""

    metrics = (METRICS["loss"], METRICS["perplexity"], METRICS["accuracy"])

    def trained_mask(self, example: Example) -> np.ndarray:
        return next_token_mask(example.labels)

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        """Tokens that end the trained answers end generation too, also in what is saved."""
        known = getattr(model.generation_config, "eos_token_id", None)
        known = [known] if isinstance(known, int) else list(known or [])
        wanted = sorted(set(learned.get("stop_tokens", {}).values()))
        stops = known + [token for token in wanted if token not in known]
        if stops:
            model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]

    def objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.causal import CausalObjective

        return CausalObjective(config)

    def encode_prompt(self, tokenizer: Any, text: str) -> list[int]:
        """Token ids of a prompt that the user wrote, up to where the answer begins."""
        return list(tokenizer(text)["input_ids"])

    def samples(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> Samples | None:
        from tui_tuner.data.examples.held_out import prompts_of
        from tui_tuner.evaluation.answers import GeneratedAnswers

        return GeneratedAnswers(
            config.evaluation,
            tokenizer,
            lambda text: self.encode_prompt(tokenizer, text),
            lambda count: prompts_of(held_out, count, config, tokenizer),
        )


def check_cuts(facts: Facts) -> list[Problem]:
    """Warn of rows that lost their end."""
    from tui_tuner.data.preflight import noted

    return noted(
        facts,
        "cut",
        "answers_cut",
        "warning",
        _("{count:,} rows were cut at max_length, and their stop token with them.", count=facts.count("cut")),
        _("Raise data.max_length, or set data.overlong to split."),
    )

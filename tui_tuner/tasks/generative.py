"""Shared parts of tasks whose models write text: next-token loss, stop tokens, answers to prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.records import (
    Chat,
    Example,
    Record,
    list_record_texts,
    make_next_token_mask,
    move_to_next_tokens,
)
from tui_tuner.locales import _
from tui_tuner.tasks.base import Task

if TYPE_CHECKING:
    import numpy as np

    from tui_tuner.data.examples.held_out import HeldOutPrompt
    from tui_tuner.data.examples.record_encoder import RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import SampleSource
    from tui_tuner.objectives.objective import Objective


class GenerativeTask(Task):
    """A task that trains a causal language model."""

    metrics = (METRICS["loss"], METRICS["perplexity"], METRICS["accuracy"])
    answer_metrics: tuple[str, ...] = ("rougeL",)

    def trained_mask(self, example: Example) -> np.ndarray:
        return make_next_token_mask(example.labels)

    def list_token_weights(self, example: Example) -> np.ndarray | None:
        return move_to_next_tokens(example.weights)

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        """Make the tokens that end trained answers end generation too, also in the saved model."""
        # A generation config holds one id or a list of them.
        known = getattr(model.generation_config, "eos_token_id", None)
        known = [known] if isinstance(known, int) else list(known or [])
        wanted = sorted(set(learned.get("stop_tokens", {}).values()))
        # The model's own stop tokens stay: answers that it learned before still end with them.
        stops = known + [token for token in wanted if token not in known]
        if stops:
            model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]

    def make_objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.causal import CausalObjective

        return CausalObjective(config)

    def encode_prompt(self, config: RunConfig, tokenizer: Any, text: str) -> list[int]:
        """Return the token ids of a prompt from the user, up to the beginning of the answer."""
        return list(tokenizer(text)["input_ids"])

    def encode_row(self, config: RunConfig, tokenizer: Any, record: Record) -> tuple[list[int], str]:
        """Return the token ids of a row to answer, and a note on what was done to it.

        Args:
            record: A chat that ends before its answer, or a text.

        Raises:
            RowProblem: the row cannot be used.
        """
        if isinstance(record, Chat) and getattr(tokenizer, "chat_template", None):
            turns = [message.to_plain_turn() for message in record.messages]
            text = render_chat(tokenizer, turns, record.tools, generation=True)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"]), ""
        if isinstance(record, Chat):
            text = "\n".join(message.content or "" for message in record.messages)
            return list(tokenizer(text)["input_ids"]), ""
        # Plain text goes the way of a user's own prompt, in the form that was trained
        return self.encode_prompt(config, tokenizer, "\n".join(list_record_texts(record))), ""

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        from tui_tuner.evaluation.generated_answers import GeneratedAnswers

        return GeneratedAnswers(
            config.evaluation,
            tokenizer,
            lambda text: self.encode_prompt(config, tokenizer, text),
            lambda count: self.list_held_out_prompts(held_out, count, config, tokenizer),
            self.answer_metrics,
        )

    def list_held_out_prompts(
        self, held_out: TokenizedRows | None, count: int, config: RunConfig, tokenizer: Any
    ) -> list[HeldOutPrompt]:
        """List up to so many held-out rows as prompts with their references, always the same ones."""
        from tui_tuner.data.examples.held_out import make_held_out_prompts

        return make_held_out_prompts(held_out, count, config, tokenizer)


def check_cut_rows(facts: RowFacts) -> list[Problem]:
    """Report rows that were cut and lost their stop token."""
    from tui_tuner.data.preflight import make_noted_problems

    return make_noted_problems(
        facts,
        "cut",
        "answers_cut",
        "warning",
        _(
            "{count:,} rows were cut at max_length and have lost their stop token.",
            count=facts.get_count("cut"),
        ),
        _("Raise data.max_length, or set data.overlong to split."),
    )

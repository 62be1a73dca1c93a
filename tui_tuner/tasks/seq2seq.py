"""Train a model with an encoder and a decoder to rewrite texts: the encoder reads, the decoder writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.data.records import IGNORE, Chat, Example
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.tasks.generative import GenerativeTask
from tui_tuner.tasks.rewriting.languages import set_languages
from tui_tuner.tasks.rewriting.pair_encoder import COLUMNS, SOURCE, PairEncoder
from tui_tuner.tasks.rewriting.source_texts import (
    describe_cut_sources,
    encode_source,
    list_held_out_sources,
    read_source,
)

if TYPE_CHECKING:
    from tui_tuner.data.examples.held_out import HeldOutPrompt
    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.records import Record
    from tui_tuner.evaluation.samples import ShownSample
    from tui_tuner.objectives.objective import Objective


class Seq2Seq(GenerativeTask):
    """Trains targets, given their sources; the loss is that of transformers' own models."""

    records = (Chat,)
    encoder_class = PairEncoder
    columns = COLUMNS
    auto_class = "AutoModelForSeq2SeqLM"
    peft_type = "SEQ_2_SEQ_LM"
    answer_metrics = ("rouge1", "rouge2", "rougeL", "bleu")

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        set_languages(config, tokenizer)
        return []

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return PairEncoder(config, tokenizer)

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return [
            *make_noted_problems(
                facts,
                "cut_source",
                "sources_cut",
                "warning",
                _("{count:,} sources were cut at max_source.", count=facts.get_count("cut_source")),
                _("Raise data.max_source, or leave such rows out with data.overlong drop."),
            ),
            *make_noted_problems(
                facts,
                "cut_target",
                "targets_cut",
                "warning",
                _("{count:,} targets were cut at max_target.", count=facts.get_count("cut_target")),
                _("Raise data.max_target, or leave such rows out with data.overlong drop."),
            ),
            *make_noted_problems(
                facts,
                "turns",
                "turns_joined",
                "info",
                _(
                    "{count:,} rows have more than one turn before their answer: the source is all of them, "
                    "one after another.",
                    count=facts.get_count("turns"),
                ),
            ),
        ]

    def trained_mask(self, example: Example) -> np.ndarray:
        shown: np.ndarray = example.labels != IGNORE
        return shown

    def list_token_weights(self, example: Example) -> np.ndarray | None:
        # Labels stand at the tokens of the target themselves, not before them.
        return example.weights

    def describe_example(self, record: Record, example: Example) -> str:
        source = int(example.columns[SOURCE])
        return _(
            "{source:,} tokens are read by the encoder, {target:,} written by the decoder",
            source=source,
            target=len(example) - source,
        )

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        super().finish_model(model, learned)
        for name, token in (learned.get("start") or {}).items():
            setattr(model.generation_config, name, token)

    def make_objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.decoder_objective import DecoderObjective

        return DecoderObjective(config)

    def encode_prompt(self, config: RunConfig, tokenizer: Any, text: str) -> list[int]:
        return encode_source(config, tokenizer, text)[0]

    def encode_row(self, config: RunConfig, tokenizer: Any, record: Record) -> tuple[list[int], str]:
        ids, count = encode_source(config, tokenizer, read_source(record))
        return ids, describe_cut_sources(config) if count > len(ids) else ""

    def list_held_out_prompts(
        self, held_out: TokenizedRows | None, count: int, config: RunConfig, tokenizer: Any
    ) -> list[HeldOutPrompt]:
        return list_held_out_sources(held_out, count, config)

    def ask_model(
        self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = ""
    ) -> ShownSample:
        """Return what the model writes for a text."""
        from tui_tuner.tasks.rewriting.text_rewriting import rewrite_text

        if question.strip():
            raise UsageError(
                _("task {task} rewrites texts and cannot answer a question.", task=config.task),
                where="--question",
                hint=_("Leave it out, or make it a part of the text."),
            )
        return rewrite_text(config, model, tokenizer, text)


TASK = Seq2Seq()

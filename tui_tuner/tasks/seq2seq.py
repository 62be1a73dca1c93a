"""Train a model with an encoder and a decoder to rewrite texts: the encoder reads, the decoder writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.data.records import IGNORE, Chat, Example
from tui_tuner.locales import _
from tui_tuner.tasks.generative import GenerativeTask
from tui_tuner.tasks.rewriting.languages import set_languages
from tui_tuner.tasks.rewriting.pair_encoder import COLUMNS, SOURCE, PairEncoder

if TYPE_CHECKING:
    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.records import Record
    from tui_tuner.evaluation.samples import SampleSource
    from tui_tuner.objectives.objective import Objective


class Seq2Seq(GenerativeTask):
    """Trains targets, given their sources; the loss is that of transformers' own models."""

    records = (Chat,)
    encoder_class = PairEncoder
    columns = COLUMNS
    auto_class = "AutoModelForSeq2SeqLM"
    peft_type = "SEQ_2_SEQ_LM"

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

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        return None


TASK = Seq2Seq()

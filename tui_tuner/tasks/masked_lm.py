"""Train a model to guess hidden tokens of plain text (BERT, arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.masking.block_encoder import BlockEncoder
from tui_tuner.data.masking.hiding import hide_tokens, make_generator, make_hiding_rule
from tui_tuner.data.records import Example, Record, Text
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.tasks.base import Task
from tui_tuner.tasks.masking.mask_checks import check_head_weights, check_masking

if TYPE_CHECKING:
    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import SampleSource, ShownSample
    from tui_tuner.objectives.objective import Objective


class MaskedLm(Task):
    """Hides tokens of documents, and trains what the model makes of them."""

    records = (Text,)
    encoder_class = BlockEncoder
    metrics = (METRICS["loss"], METRICS["perplexity"], METRICS["accuracy"])
    auto_class = "AutoModelForMaskedLM"
    # PEFT has no name for masked language modelling; this one calls the model as it is, and allows prompts.
    peft_type = "FEATURE_EXTRACTION"

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        check_masking(config, tokenizer)
        return []

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return BlockEncoder(config, tokenizer)

    def read_cache_extras(self, config: RunConfig, tokenizer: Any) -> Any:
        # Tokens are hidden when they are read, so the share does not change what is stored.
        return {"whole_words": config.data.masking.whole_words}

    def preview_examples(
        self, config: RunConfig, tokenizer: Any, examples: Sequence[Example], first: int
    ) -> Sequence[Example]:
        rule = make_hiding_rule(config.data.masking.share, tokenizer)
        seed = config.training.seed
        return [
            hide_tokens(one, rule, make_generator(seed, number, 0))
            for number, one in enumerate(examples, first)
        ]

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        from tui_tuner.data.preflight import make_noted_problems

        return make_noted_problems(
            facts,
            "cut",
            "texts_cut",
            "warning",
            _(
                "{count:,} documents were cut at max_length: the rest of them is not read.",
                count=facts.get_count("cut"),
            ),
            _("Set data.overlong to split to read all of them."),
        )

    def load_run_model(
        self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]
    ) -> Any:
        model = super().load_run_model(config, device, tokenizer, learned)
        check_head_weights(config, model)
        return model

    def make_objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.masked_objective import MaskedObjective

        return MaskedObjective(config)

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        from tui_tuner.tasks.masking.mask_filling import FilledTexts

        return FilledTexts(config, tokenizer, held_out)

    def ask_model(
        self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = ""
    ) -> ShownSample:
        """Return the likeliest tokens at each mask token of a text, written as `[MASK]` or `<mask>`.

        Raises:
            UsageError: the text has no mask token, or is too long.
        """
        from tui_tuner.tasks.masking.mask_filling import fill_masks

        if question.strip():
            raise UsageError(
                _("task {task} fills in masks and cannot answer a question.", task=config.task),
                hint=_("Leave the question out."),
            )
        return fill_masks(config, model, tokenizer, text).show_sample()

    def predict_rows(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """Return `{text, masks: [[{token, score}, ...], ...]}` of each row, best first."""
        from tui_tuner.tasks.masking.mask_filling import predict_masks

        return predict_masks(config, model, tokenizer, rows, batch_size)


TASK = MaskedLm()

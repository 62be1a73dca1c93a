"""The interface of a task: implement this. Each module in this folder holds one task, as its `TASK`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import Metric
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import IGNORE, Example, Question, Record, list_record_texts
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _

# These take long to import, and a form needs only the labels and descriptions of a task.
if TYPE_CHECKING:
    import numpy as np

    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import SampleSource, ShownSample
    from tui_tuner.objectives.objective import Objective


class Task(ABC):
    """Everything that is specific to one kind of training.

    A task is named in `config.kinds.tasks.TASKS`; its module has the same name and an instance in `TASK`. It
    keeps no state: one instance serves all runs, and is sent to other processes by name. Its module imports
    no torch at the top.

    Attributes:
        records: Kinds of records it takes unchanged.
        encoder_class: The class of its encoder, which rejects other records before anything is loaded; None
            leaves that to the run.
        columns: Further columns of the store for each example, such as `{"label": "int64"}`
            (numpy dtypes). The encoder fills them, the objective reads them.
        metrics: Metrics of an evaluation on held-out rows. `evaluation.best` may name any of them.
        auto_class: The transformers class that loads the model.
        answer_metrics: Metrics by which generated answers are usually compared with references; none of a
            task that writes no text.
        new_modules: Modules that start with random weights if the base model has none, such as a head.
        kept: Metrics that are saved in the model's config: values that an evaluation finds and answering
            needs.
        peft_type: PEFT's name for the task, which decides what of the head it trains and saves.
    """

    records: tuple[type[Record], ...] = ()
    encoder_class: type[RecordEncoder] | None = None
    columns: Mapping[str, str] = {}
    metrics: tuple[Metric, ...] = ()
    auto_class = "AutoModelForCausalLM"
    answer_metrics: tuple[str, ...] = ()
    new_modules: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    peft_type = "CAUSAL_LM"

    # ---- rows ---------------------------------------------------------------------------------------------

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        """Set what the task needs on the tokenizer, such as a chat template.

        Returns:
            Messages about it for the user.
        """
        return []

    @abstractmethod
    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        """Return the encoder that converts records to examples with labels and columns."""

    def read_cache_extras(self, config: RunConfig, tokenizer: Any) -> Any:
        """Return anything else that decides how records become examples, for the key of the token cache.

        The key already covers rows, the section `data`, the tokenizer with its template, and the task's own
        module. The values must be plain ones.
        """
        return None

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        """List problems of all rows together, before anything is trained.

        Args:
            facts: Facts that the encoder noted (`RecordEncoder.note_row`).
        """
        return []

    def preview_examples(
        self, config: RunConfig, tokenizer: Any, examples: Sequence[Example], first: int
    ) -> Sequence[Example]:
        """Return examples as an epoch reads them, if that is not how they are stored.

        Args:
            first: The number of the first one, where something is drawn for it.
        """
        return examples

    def trained_mask(self, example: Example) -> np.ndarray:
        """Return a bool [length]: the tokens that are shown as trained."""
        shown: np.ndarray = example.labels != IGNORE
        return shown

    def list_token_weights(self, example: Example) -> np.ndarray | None:
        """Return what the loss of each trained token counts, [length]; None if all count alike."""
        return example.weights

    def describe_example(self, record: Record, example: Example) -> str:
        """Describe what an example of a record teaches; empty if its tokens show it."""
        return ""

    def settle_fields(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """Choose values for `auto` fields that depend on the rows, with the reasons.

        Args:
            learned: What the encoder learned from the rows (`RecordEncoder.export_learned`).
        """
        return {}

    def renumber_rows(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None:
        """Replace the numbers given during encoding, such as those of classes, by final ones.

        Rows are encoded in several processes, each of which sees a part of them, so the number of a class is
        only known after all of them. `TokenizedRows.renumber_values` does it, for a column or for labels.

        Args:
            rows: Training rows or held-out rows; both are numbered by the classes of the training file.

        Raises:
            DataError: held-out rows have a class that no training row has.
        """
        return

    def best_metric(self, config: RunConfig) -> str:
        """Return the metric that decides which checkpoint is best, as far as known before rows are read.

        With auto it is the metric that the task is judged by; a task that does not measure that one is
        judged by its first metric.
        """
        best = config.best_metric
        if config.evaluation.best == "auto" and self.metrics:
            measured = [metric.name for metric in self.metrics]
            return best if best in measured else measured[0]
        return best

    def list_scored_metrics(self, config: RunConfig) -> list[str]:
        """List the metrics of generated answers, which are only measured if some are scored."""
        if not config.task_kind.writes or not config.evaluation.metric_rows:
            return []
        from tui_tuner.evaluation.metrics import MEASURES

        held_out = {metric.name for metric in self.metrics}
        return [name for name in MEASURES if name not in held_out]

    def decides_by_answers(self, config: RunConfig) -> bool:
        """Return whether a metric of generated answers decides which checkpoint is best."""
        return config.evaluation.best in self.list_scored_metrics(config)

    # ---- the model ----------------------------------------------------------------------------------------

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        """Return values for the model's own config, such as the number and names of classes.

        Args:
            learned: What the encoder learned from the rows (`RecordEncoder.export_learned`); empty for a run
                of version 0.1.
        """
        return {}

    def load_run_model(
        self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]
    ) -> Any:
        """Load the model of a run onto its device, before a method is attached.

        Raises:
            ModelError, HubError, HardwareError: as `models.loading.load_model` does.
        """
        from tui_tuner.models.loading import load_model

        values = self.model_values(config, learned)
        return load_model(config, device, tokenizer, self.auto_class, values, self.new_modules)

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        """Set values that belong in the saved model, such as the tokens that end an answer."""
        return

    def keep_metrics(self, model: Any, metrics: Mapping[str, Any]) -> None:
        """Set the metrics that `kept` names on a model's config, as far as they are known."""
        for name in self.kept:
            value = metrics.get(name)
            # A config.json cannot hold NaN: other programs could not read the saved model.
            if isinstance(value, int | float) and math.isfinite(value):
                setattr(model.config, name, float(value))

    # ---- learning and judging -----------------------------------------------------------------------------

    @abstractmethod
    def make_objective(self, config: RunConfig) -> Objective:
        """Return the objective of a run: a new one each time, because it keeps state."""

    def ask_model(
        self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = ""
    ) -> ShownSample:
        """Return the answer of a trained model for the user's own text.

        Args:
            model: From `training.load_run`, in evaluation mode; its config has the classes.

        Raises:
            UsageError: the task cannot answer, or a question is missing or not accepted.
        """
        raise UsageError(_("task {task} cannot answer questions about a text.", task=config.task))

    def predict_rows(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """Return a trained model's predictions for rows; a `RowProblem` for a row that it cannot read.

        This default asks about one row at a time (`ask_model`); tasks that can compute several at once
        override it.

        Args:
            rows: The records that the task reads, without answers, labels or tags; a `Text` if it reads one.
            batch_size: Most sequences that are computed together.

        Returns:
            Plain values for each row.
        """
        found: list[Any] = []
        for row in rows:
            question = row.question if isinstance(row, Question) else ""
            text = row.context if isinstance(row, Question) else "\n".join(list_record_texts(row))
            try:
                shown = self.ask_model(model, tokenizer, config, text, question)
                found.append({"text": shown.text, "scores": [list(one) for one in shown.scores]})
            except RowProblem as problem:
                found.append(problem)
            # An error about one text, such as an empty one, must not end a file of rows.
            except UsageError as error:
                found.append(RowProblem(N_("the model cannot read this row"), error.what))
        return found

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        """Return the source of samples shown before, during and after training; None to show none.

        Args:
            held_out: Rows that are never trained on.
        """
        return None

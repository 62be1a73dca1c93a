"""What a task is: implement this. One module in this folder holds one task, as its `TASK`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import Metric
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Example, Question, Record, texts_of
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _

if TYPE_CHECKING:  # all of these take long to import, and a form asks a task for words alone
    import numpy as np

    from tui_tuner.data.examples.encoder import Encoder, Facts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import Samples, Shown
    from tui_tuner.objectives.base import Objective


class Task(ABC):
    """Everything that is particular to one way of learning.

    A task is named in `config.kinds.TASKS`; its module has the same name and an instance in `TASK`. It keeps
    no state: one instance serves all runs, and is sent to other processes by name. Its module imports no
    torch at the top.

    Attributes:
        records: Kinds of records it takes as they come.
        encoder_class: The class of its encoder, which refuses other records before anything is loaded; None
            leaves that to the run.
        columns: What the store keeps for each example beside ids and labels, such as `{"label": "int64"}`
            (numpy dtypes). The encoder fills them, the objective reads them.
        metrics: What an evaluation on held-out rows measures. `evaluation.best` may name any of them.
        auto_class: The class of transformers that loads the model.
        new_modules: Modules that begin with random weights where the base model has none, such as a head.
        kept: Metrics that the model's config keeps, and so what is saved: values that an evaluation finds
            and answering needs.
        peft_type: PEFT's name for the task, which decides what of the head it trains and saves.
    """

    records: tuple[type[Record], ...] = ()
    encoder_class: type[Encoder] | None = None
    columns: Mapping[str, str] = {}
    metrics: tuple[Metric, ...] = ()
    auto_class = "AutoModelForCausalLM"
    new_modules: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    peft_type = "CAUSAL_LM"

    # ---- rows ---------------------------------------------------------------------------------------------

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        """Set what the task needs on the tokenizer, such as a chat template.

        Returns:
            Sentences about it that the user should read.
        """
        return []

    @abstractmethod
    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        """What turns records into examples with labels and columns."""

    def read_beside(self, config: RunConfig, tokenizer: Any) -> Any:
        """What else decides how records become examples, in plain values: the token cache has to know it.

        The cache knows rows, the section `data`, the tokenizer with its template, and the task's own module.
        """
        return None

    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        """What is wrong or doubtful about all rows together, before anything is trained.

        Args:
            facts: What the encoder noted (`Encoder.note_row`).
        """
        return []

    def trained_mask(self, example: Example) -> np.ndarray:
        """bool [length]: the tokens that are shown as trained."""
        shown: np.ndarray = example.labels != IGNORE
        return shown

    def describe(self, record: Record, example: Example) -> str:
        """What an example of a record teaches, in words; empty where its tokens say it all."""
        return ""

    def settle(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """Fields that the rows decide where the config leaves them `auto`: their values, and why.

        Args:
            learned: What the encoder found out (`Encoder.learned`).
        """
        return {}

    def number(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None:
        """Put final numbers in the place of those that encoding gave, such as for classes.

        Rows are encoded in several processes, each of which sees a part of them, so what a class's number is
        can only be said when all were seen. `TokenizedRows.renumber` does it, for a column or for labels.

        Args:
            rows: Training rows, or held-out ones; both are numbered by what the training file taught.

        Raises:
            DataError: held-out rows hold what no training row has.
        """
        return

    def best_metric(self, config: RunConfig) -> str:
        """The metric that decides which checkpoint is best, as far as that can be told before rows are read.

        auto is what the task is judged by; a task that does not measure that is judged by its first metric.
        """
        best = config.best_metric
        if config.evaluation.best == "auto" and self.metrics:
            measured = [metric.name for metric in self.metrics]
            return best if best in measured else measured[0]
        return best

    # ---- the model ----------------------------------------------------------------------------------------

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        """Values for the model's own config, such as the number and names of classes.

        Args:
            learned: What the encoder found out (`Encoder.learned`); empty for a run of version 0.1.
        """
        return {}

    def load(self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]) -> Any:
        """The model of a run, on its device, before a method is attached.

        Raises:
            ModelError, HubError, HardwareError: as `models.loading.load_model` does.
        """
        from tui_tuner.models.loading import load_model

        values = self.model_values(config, learned)
        return load_model(config, device, tokenizer, self.auto_class, values, self.new_modules)

    def finish_model(self, model: Any, learned: Mapping[str, Any]) -> None:
        """Set what belongs into the saved model, such as the tokens that end an answer."""
        return

    def keep(self, model: Any, metrics: Mapping[str, Any]) -> None:
        """Set what `kept` names on a model's config, as far as it is known."""
        for name in self.kept:
            value = metrics.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                setattr(model.config, name, float(value))

    # ---- learning and judging -----------------------------------------------------------------------------

    @abstractmethod
    def objective(self, config: RunConfig) -> Objective:
        """What a step minimises and an evaluation measures. Made anew for each run."""

    def ask(self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = "") -> Shown:
        """What a trained model makes of a text of the user's own.

        Args:
            model: Of `training.load_run`, in evaluation mode; classes stand in its config.

        Raises:
            UsageError: the task has no such answer, or a question is missing or not wanted.
        """
        raise UsageError(_("task {task} answers no questions about a text.", task=config.task))

    def predict(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """What a trained model says of rows, in plain values; a `RowProblem` for one that it cannot read.

        This asks about one row after the other (`ask`); a task computes several at once.

        Args:
            rows: What the task reads, without answers, labels or tags; a `Text` where it reads one.
            batch_size: Sequences that are computed together at most.
        """
        found: list[Any] = []
        for row in rows:
            question = row.question if isinstance(row, Question) else ""
            text = row.context if isinstance(row, Question) else "\n".join(texts_of(row))
            try:
                shown = self.ask(model, tokenizer, config, text, question)
                found.append({"text": shown.text, "scores": [list(one) for one in shown.scores]})
            except RowProblem as problem:
                found.append(problem)
            except UsageError as error:
                found.append(RowProblem(N_("the model cannot read this row"), error.what))
        return found

    def samples(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> Samples | None:
        """How the task shows itself before, during and after training; None for not at all.

        Args:
            held_out: Rows that are never trained.
        """
        return None

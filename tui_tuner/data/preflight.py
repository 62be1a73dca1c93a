"""Checks before training: what would waste the run stops it, what may be right is a warning.

Each problem names rows, the reason and the fix.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.ledger import Ledger
from tui_tuner.errors import PreflightError
from tui_tuner.locales import N_, _

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoding import Facts


@dataclass
class Problem:
    """One finding. `level` is error or warning; `rows` holds a few of the `count` rows concerned."""

    code: str
    level: str
    message: str
    hint: str = ""
    count: int = 0
    rows: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """The message with the rows."""
        if not self.rows:
            return self.message
        rows = ", ".join([*self.rows, "…"] if self.count > len(self.rows) else self.rows)
        return _("{message} Rows: {rows}", message=self.message, rows=rows)


@dataclass
class Report:
    """All findings."""

    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == "warning"]

    def stop(self) -> None:
        """Raise `PreflightError` if there is an error."""
        if not self.errors:
            return
        first = self.errors[0]
        message = "\n".join(problem.sentence() for problem in self.errors)
        way = _("To train all the same: --set data.preflight=warn.")
        raise PreflightError(
            message,
            where=first.rows[0] if first.rows else "",
            hint=f"{first.hint} {way}".strip(),
        )

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(problem) for problem in self.problems]

    @classmethod
    def from_json(cls, items: list[dict[str, Any]]) -> Report:
        return cls([Problem(**item) for item in items])


def check(facts: Facts, ledger: Ledger, config: RunConfig) -> Report:
    """What the rows say, whatever the split."""
    report = Report()
    if config.task == "sft" and facts.answers and not facts.stopped and config.data.overlong != "truncate":
        report.problems.append(
            Problem(
                "stop_token_untrained",
                "error",
                _("No answer ends with a stop token, so the model would never learn to stop."),
                _(
                    "Use a chat template that ends answers with the tokenizer's eos: "
                    "--set model.chat_template=chatml."
                ),
                facts.counts.get("unstopped", 0),
                facts.unstopped,
            )
        )
    elif config.task == "sft" and facts.stopped < facts.answers:
        report.problems.append(
            Problem(
                "stop_token_missing",
                "warning",
                _(
                    "{unstopped:,} of {answers:,} answers end without a stop token: "
                    "this chat template writes it only behind some turns.",
                    unstopped=facts.answers - facts.stopped,
                    answers=facts.answers,
                ),
                "",
                facts.counts.get("unstopped", 0),
                facts.unstopped,
            )
        )
    if facts.doubled_bos:
        report.problems.append(
            Problem(
                "doubled_bos",
                "error",
                _("Rows begin with two BOS tokens."),
                _("Remove the BOS from the chat template or from the rows."),
                facts.counts["doubled_bos"],
                facts.doubled_bos,
            )
        )
    report.problems += _warnings(facts)
    if facts.cut_answers:
        report.problems.append(
            Problem(
                "answers_cut",
                "warning",
                _(
                    "{count:,} rows were cut at max_length, and their stop token with them.",
                    count=facts.counts["cut_answers"],
                ),
                _("Raise data.max_length, or set data.overlong to split."),
                facts.counts["cut_answers"],
                facts.cut_answers,
            )
        )
    return report


def _warnings(facts: Facts) -> list[Problem]:
    """What may be meant, and should be seen."""
    known = (
        (
            "roles",
            "roles_out_of_order",
            N_("{count:,} rows have roles out of order (the same side twice, or an answer to nobody)."),
            "",
        ),
        (
            "tools_left_out",
            "tools_left_out",
            N_(
                "{count:,} rows have tools that this chat template does not write, so the model never sees "
                "them."
            ),
            N_("Choose a model whose template knows tools, or --set model.chat_template=chatml."),
        ),
        (
            "system_left_out",
            "system_left_out",
            N_("{count:,} rows have a system message that this chat template does not write as it is."),
            "",
        ),
        (
            "markers",
            "special_tokens_in_text",
            N_("{count:,} rows have special tokens inside what was written; they are read as the real ones."),
            N_("Clean the rows if that is not meant."),
        ),
    )
    return [
        Problem(
            code,
            "warning",
            _(what, count=facts.counts[name]),
            _(hint),
            facts.counts[name],
            getattr(facts, name),
        )
        for name, code, what, hint in known
        if facts.counts.get(name)
    ]


def check_split(report: Report, train: TokenizedRows, validation: TokenizedRows | None) -> None:
    """What shows only once training and validation rows are told apart."""
    if not len(train):
        report.problems.append(
            Problem(
                "nothing_to_train",
                "error",
                _("All rows are held out, none is left to train on."),
                _("Lower data.validation."),
            )
        )
    if validation is None or validation.store is train.store:
        return
    trained = np.unique(np.asarray(train.store.row["content"]))
    held = np.asarray(validation.store.row["content"])
    both = np.isin(held, trained)
    if both.any():
        share = both.mean()
        rows = [str(validation.store.origin(int(row))) for row in np.flatnonzero(both)[:5]]
        report.problems.append(
            Problem(
                "leakage",
                "error" if share > 0.5 else "warning",
                _(
                    "{both:,} of {held:,} validation rows are also trained on, so the "
                    "validation loss would flatter the model.",
                    both=both.sum(),
                    held=len(held),
                ),
                _("Take them out of one of the two files."),
                int(both.sum()),
                rows,
            )
        )

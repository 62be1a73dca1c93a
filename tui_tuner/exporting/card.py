"""The model card of an export: README.md."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.locales import _
from tui_tuner.training.keeping.model_card import CARD, escape_markdown


def write_export_card(job: ExportJob, target: Target, folder: Path, report: ParityReport) -> None:
    """Write the card of an export into its folder."""
    language, code = target.describe_loading(job)
    parts = [f"# {escape_markdown(job.source.name)}: {_(target.kind.label)}"]
    if code:
        parts += [f"## {_('How to use it')}", f"```{language}\n{code.strip()}\n```"]
    parts += [f"## {_('Compared with the result')}", report.describe()]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")

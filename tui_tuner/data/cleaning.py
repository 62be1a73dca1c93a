"""Optional clean-up of records. Each step that changes or drops a row is counted in the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.config.schema import CleaningSection
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.records import Origin, Record


@dataclass
class Cleaned:
    """A record after cleaning."""

    record: Record
    changed: bool = False


class Cleaner:
    """Applies the steps of a `CleaningSection`, row by row."""

    def __init__(self, section: CleaningSection) -> None:
        self.section = section

    def clean(self, record: Record, origin: Origin, ledger: Ledger) -> Cleaned | None:
        """The cleaned record, or None if a step dropped it, which is then in the ledger."""
        return Cleaned(record)

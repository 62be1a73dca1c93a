"""A model on offer, with everything known about it before a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.guiding.models.candidates import FOLDER, RUN, Candidate
from tui_tuner.guiding.models.fitting import CHANGED, FITS
from tui_tuner.planning.data_facts import DataFacts

CHARACTERS = 4  # per token of English, if no tokenizer has counted
# Licences that allow nearly every use, by their names on the hub; others need a look, some forbid commercial
# use
OPEN = (
    "apache-2.0",
    "mit",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "unlicense",
    "openrail",
)


@dataclass(frozen=True)
class Choice:
    """A model in the ranking, with its figures.

    Args:
        name: What `model.name` takes.
        origin: Where it comes from: `folder`, `cache`, `run`, `package`, `catalog` or `hub`.
        here: Whether nothing needs to be downloaded.
        fetch: Bytes to download; None if unknown.
        kind: `chat`, `base`, `encoder` or `rewriter`; empty if unknown.
        licence, languages: From its card; empty if not given.
        speaks: Whether it knows the languages asked for; None if unknown or none were asked for.
        gated: Whether its owner requires a login and accepted terms.
        state: `fits`, `changed` (fits with changed `values`), `unknown`, `misfit` or `unsuited`.
        needs, there: GiB.
        seconds, cost: Least, likely and most for these rows; None if unknown or there are no rows.
        within: Whether that is within the budget; None if unknown.
        values: Config fields that go with it, including `model.name`.
        why: The reason for its rank, with figures.
        basis: The source of the time estimate.
        candidate: The model as it was found.
    """

    name: str
    origin: str
    here: bool
    why: str
    state: str
    fetch: int | None = 0
    kind: str = ""
    parameters: int | None = None
    licence: str = ""
    languages: tuple[str, ...] = ()
    speaks: bool | None = None
    gated: bool = False
    source: str = ""
    needs: float = 0.0
    there: float = 0.0
    seconds: tuple[float, float, float] | None = None
    cost: tuple[float, float, float] | None = None
    within: bool | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    basis: str = ""
    candidate: Candidate | None = field(default=None, compare=False, repr=False)

    @property
    def fits_machine(self) -> bool:
        """Return whether it can be trained on the machine asked for."""
        return self.state in (FITS, CHANGED)

    @property
    def is_usable(self) -> bool:
        """Return whether a run with it can start at once."""
        return self.fits_machine and self.here

    @property
    def short_name(self) -> str:
        """Return a short name: the last part of a folder's path."""
        return Path(self.name).name if self.origin in (FOLDER, RUN) else self.name


def find_data_facts(data: Any) -> DataFacts | None:
    """Return counts of the rows from `DataFacts`, an object with `facts`, or a `DataLook`; None if there are
    no counted rows."""
    # By attributes instead of types: importing the look at data here would be a circle
    found = data if isinstance(data, DataFacts) else getattr(data, "facts", None)
    if isinstance(found, DataFacts):
        return found if found.rows else None
    rows = getattr(data, "rows", None) or getattr(data, "usable", None)
    if not rows:
        return None
    spread, letters = getattr(data, "tokens", None), getattr(data, "characters", None)
    tokens = getattr(data, "total_tokens", None)
    longest = spread.longest if spread else None
    if tokens is None and letters:
        tokens = round(letters.mean * rows / CHARACTERS)
        longest = round(letters.longest / CHARACTERS)
    classes = len(getattr(data, "labels", ()) or ())
    regression = getattr(data, "problem", "") == "regression"
    outputs = 1 if regression else classes
    return DataFacts(rows, tokens=tokens, longest=longest, outputs=outputs, regression=regression)


def find_choice(choices: Iterable[Choice], name: str) -> Choice | None:
    """Find a choice by its name or by any spelling of its folder's path."""
    listed = list(choices)
    path = Path(name).expanduser().absolute()
    by_name = next((one for one in listed if one.name.lower() == name.lower()), None)
    return by_name or next(
        (one for one in listed if one.origin in (FOLDER, RUN) and Path(one.name) == path), None
    )


def knows_languages(known: Sequence[str], asked: Sequence[str]) -> bool | None:
    """Return whether a card names all languages asked for; None if it names none or none are asked for."""
    if not known or not asked:
        return None
    # Cards name languages without a region: pt for pt-BR
    return all(code.partition("-")[0] in known for code in asked)


def rank_licence(licence: str) -> int:
    """Rank a licence: 0 open, 1 with terms to read, 2 unknown, 3 non-commercial."""
    plain = licence.lower()
    if plain in OPEN:
        return 0
    if not plain:
        return 2
    return 3 if "-nc" in plain or "research" in plain or "non-commercial" in plain else 1

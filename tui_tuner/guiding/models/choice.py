"""A model that can be chosen, with what there is to know of it before a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.guiding.models.candidates import FOLDER, RUN, Candidate
from tui_tuner.guiding.models.fitting import CHANGED, FITS
from tui_tuner.planning.data_facts import DataFacts

CHARACTERS = 4  # of a token of English, where no tokenizer has counted
# Terms that allow nearly every use, by the names of the hub; others ask for a look, some forbid trade
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
    """A model with what there is to know of it before a run.

    Args:
        name: What `model.name` takes.
        origin: Where it is from: `folder`, `cache`, `run`, `package`, `catalog` or `hub`.
        here: Whether nothing has to be fetched.
        fetch: Bytes to be fetched; None where nobody knows.
        kind: `chat`, `base` or `encoder`; empty where nobody knows.
        licence, languages: As its card says; empty where it does not.
        speaks: Whether it knows the languages asked for; None where its card does not say, or none were.
        gated: Its owner wants one to log in and accept terms first.
        state: `fits`, `changed` (fits with `values` nobody asked for), `unknown`, `misfit` or `unsuited`.
        needs, there: GiB.
        seconds, cost: Least, likely and most for these rows; None where nobody can tell, or there are none.
        within: Whether that is within the budget; None where nobody can tell.
        values: Fields of the config that go with it, `model.name` among them.
        why: Why it stands where it stands, with figures.
        basis: What the time rests on.
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
    def fits(self) -> bool:
        """Whether it can be trained there."""
        return self.state in (FITS, CHANGED)

    @property
    def usable(self) -> bool:
        """Whether a run with it can begin at once."""
        return self.fits and self.here

    @property
    def title(self) -> str:
        """What to call it: a folder by its last part."""
        return Path(self.name).name if self.origin in (FOLDER, RUN) else self.name


def facts_of(data: Any) -> DataFacts | None:
    """Counts of the rows: `DataFacts`, or what has them as `facts`, or a look at data (`guiding.data`) that
    counted rows and their tokens or characters; None where none were counted."""
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
    """The choice that a name means, however its folder is written."""
    listed = list(choices)
    path = Path(name).expanduser().absolute()
    by_name = next((one for one in listed if one.name.lower() == name.lower()), None)
    return by_name or next(
        (one for one in listed if one.origin in (FOLDER, RUN) and Path(one.name) == path), None
    )


def speaks(known: Sequence[str], asked: Sequence[str]) -> bool | None:
    """Whether languages are among those a card names; None where it names none, or none are asked for."""
    if not known or not asked:
        return None
    return all(code.partition("-")[0] in known for code in asked)


def licence_rank(licence: str) -> int:
    """0 for terms that allow nearly every use, 1 for terms to read, 2 for none told, 3 without trade."""
    plain = licence.lower()
    if plain in OPEN:
        return 0
    if not plain:
        return 2
    return 3 if "-nc" in plain or "research" in plain or "non-commercial" in plain else 1

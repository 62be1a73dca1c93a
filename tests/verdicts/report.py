"""How well runs of a known verdict are judged: `python -m tests.verdicts.report`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.verdicts.recipes import HALVES, RECIPES, REPORTING, TUNING, Recipe, half_of
from tests.verdicts.recorded import as_older, every_third, journal_of, read_events
from tui_tuner.verdicts.judge import judge_events
from tui_tuner.verdicts.verdict_words import VERDICTS

AS_WRITTEN, OLDER = "as written", "as older versions wrote it"


@dataclass(frozen=True)
class Judged:
    """A verdict on a recorded run.

    Args:
        form: `AS_WRITTEN` or `OLDER`.
    """

    recipe: Recipe
    form: str
    verdict: str
    confidence: float | None
    evidence: tuple[str, ...]

    @property
    def right(self) -> bool:
        return self.recipe.is_right(self.verdict)

    @property
    def opposite(self) -> bool:
        return self.recipe.is_opposite(self.verdict)

    @property
    def half(self) -> str:
        return half_of(self.recipe.name)


def recorded() -> list[Recipe]:
    """The recipes that have a journal."""
    return [recipe for recipe in RECIPES if journal_of(recipe.name).exists()]


def judge_all(recipes: Iterable[Recipe]) -> list[Judged]:
    """A verdict on each run, and on a third of them also without what older versions did not write."""
    recipes = list(recipes)
    older = {name for half in HALVES.values() for name in every_third(recipe.name for recipe in half)}
    found = []
    for recipe in recipes:
        events = read_events(recipe.name)
        forms = {AS_WRITTEN: events, **({OLDER: as_older(events)} if recipe.name in older else {})}
        for form, those in forms.items():
            said = judge_events(those)
            found.append(Judged(recipe, form, said.verdict, said.confidence, tuple(said.evidence)))
    return found


def share_right(judged: Sequence[Judged]) -> float:
    """Share of the verdicts that are right; 1 where there are none."""
    return sum(one.right for one in judged) / len(judged) if judged else 1.0


def confusion(judged: Sequence[Judged]) -> str:
    """What was said (columns) of runs that were made to be what the rows say."""
    words = list(VERDICTS)
    counts = Counter((one.recipe.expected, one.verdict) for one in judged)
    width = max(map(len, words)) + 1
    lines = [" " * width + " ".join(f"{word[:9]:>9}" for word in words)]
    for word in words:
        cells = " ".join(f"{counts[word, said] or '.':>9}" for said in words)
        lines.append(f"{word:<{width}}{cells}")
    return "\n".join(lines)


def mistakes(judged: Iterable[Judged]) -> list[str]:
    """Those that are wrong, the worst first."""
    wrong = sorted((one for one in judged if not one.right), key=lambda one: not one.opposite)
    return [
        f"{one.recipe.name} ({one.half}, {one.form}): {one.recipe.expected} was told as {one.verdict}"
        f"{', the other way round' if one.opposite else ''}"
        for one in wrong
    ]


def told(judged: Sequence[Judged]) -> str:
    """The figures in words."""
    lines = [confusion(judged), ""]
    for half in (TUNING, REPORTING):
        for form in (AS_WRITTEN, OLDER):
            those = [one for one in judged if one.half == half and one.form == form]
            exact = sum(one.verdict == one.recipe.expected for one in those)
            lines.append(
                f"{half}, {form}: {sum(one.right for one in those)} of {len(those)} right "
                f"({share_right(those):.1%}); {exact} with the very word; "
                f"{sum(one.opposite for one in those)} the other way round"
            )
    return "\n".join([*lines, "", *mistakes(judged)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=(TUNING, REPORTING), help="only this half")
    parser.add_argument("--evidence", action="store_true", help="what the mistakes rest on")
    chosen = parser.parse_args()
    judged = judge_all(one for one in recorded() if chosen.half in (None, half_of(one.name)))
    lines = [told(judged)]
    for one in judged:
        if chosen.evidence and not one.right:
            lines.append(f"\n{one.recipe.name} ({one.form}), {one.verdict}, confidence {one.confidence}:")
            lines += [f"    {sentence}" for sentence in one.evidence]
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

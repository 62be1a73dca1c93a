"""Check the labels of all rows together for errors and doubtful cases."""

from __future__ import annotations

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.record_encoder import RowFacts
from tui_tuner.data.labels.problem import MULTI, REGRESSION, SINGLE, LabelTally
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.locales import N_, _, _n
from tui_tuner.tasks.classes.head import find_run_classes, has_other_head_classes
from tui_tuner.text import join_first_names, join_sentence_items, one_line

FEW_ROWS = 5  # rows of a class, below which a warning names it
UNEQUAL = 10  # times as many rows in the largest class as in the smallest
MAJORITY = 0.8  # share of all rows in one class
_SHOWN = 8


def check_labels(facts: RowFacts, config: RunConfig, tally: LabelTally) -> list[Problem]:
    """List errors and warnings about labels, with example rows."""
    if not tally.rows:
        return []
    classes = find_run_classes(config, tally)
    found: list[Problem] = []
    if has_other_head_classes(classes, tally.base):
        found.append(_new_head_problem(tally, classes.names, classes.problem))
    if classes.problem == REGRESSION:
        return found + _check_numbers(facts)
    if facts.get_count("too many"):
        return [*found, _too_many_problem(facts.get_count("too many"), facts)]
    if facts.get_count("fractions"):
        return found + _check_fractions(facts)
    # With several classes per row, a single class is still a yes-or-no question.
    least = 2 if classes.problem == SINGLE else 1
    if len(tally.classes) < least:
        return [*found, _one_class_problem(facts, tally)]
    # The checks below name classes, which makes no sense for labels that are free text.
    if differing := _check_free_text(facts, tally):
        return found + differing
    found += _check_alike(facts, tally) + _check_minus_one(facts, tally)
    return found + _check_shares(facts, tally, classes.problem)


def _new_head_problem(tally: LabelTally, names: list[str], problem: str) -> Problem:
    own = join_sentence_items(join_first_names(tally.base, _SHOWN))
    if problem == REGRESSION:
        what = _(
            "The model's own head has {count} classes ({own}), but these labels are numbers: it gets a new "
            "output with random weights.",
            count=len(tally.base),
            own=own,
        )
    else:
        wanted = join_sentence_items(join_first_names(names, _SHOWN))
        what = _(
            "The model's own head has other classes ({own}) than the rows ({wanted}): it gets new outputs "
            "with random weights.",
            own=own,
            wanted=wanted,
        )
    hint = _("To keep training that head, use its class names in the rows.")
    return Problem("new_head", "warning", what, hint)


def _check_numbers(facts: RowFacts) -> list[Problem]:
    return make_noted_problems(
        facts,
        "texts",
        "label_no_number",
        "error",
        _("{count:,} labels are not numbers.", count=facts.get_count("texts")),
        build_hint(
            N_(
                "Correct them, or train on classes with {command}.",
                command=write_setting({"data.problem": "single"}),
            )
        ),
    )


def _check_fractions(facts: RowFacts) -> list[Problem]:
    """Report numbers with a fraction among classes."""
    return make_noted_problems(
        facts,
        "fractions",
        "label_fraction",
        "error",
        _n(
            "{count:,} label is a number with a fraction, but the others are classes (data.problem).",
            "{count:,} labels are numbers with a fraction, but the others are classes (data.problem).",
            facts.get_count("fractions"),
            count=facts.get_count("fractions"),
        ),
        build_hint(
            N_(
                "Correct them, train on numbers with {numbers}, or leave those rows out with {single}.",
                numbers=write_setting({"data.problem": REGRESSION}),
                single=write_setting({"data.problem": SINGLE}),
            )
        ),
    )


def _too_many_problem(count: int, facts: RowFacts) -> Problem:
    what = _(
        "There are too many labels to be classes: after the first 10,000, {count:,} rows have others.",
        count=count,
    )
    hint = _("Set in data.columns which column is the label.")
    return Problem("too_many_classes", "error", what, hint, count, facts.noted_rows("too many"))


def _one_class_problem(facts: RowFacts, tally: LabelTally) -> Problem:
    name = next(iter(tally.classes), None)
    if name is None:
        what = _("No row has any class, so there is nothing to learn.")
        return Problem(
            "no_class", "error", what, _("Check the labels."), tally.rows, facts.noted_rows("rows")
        )
    what = _(
        "All {rows:,} rows have the same class, {name!r}, so there is nothing to tell apart.",
        rows=tally.rows,
        name=one_line(name, 60),
    )
    hint = _("Add rows of other classes, or set in data.columns which column is the label.")
    return Problem("one_class", "error", what, hint, tally.rows, facts.noted_rows("rows"))


def _check_free_text(facts: RowFacts, tally: LabelTally) -> list[Problem]:
    """Report labels that rarely repeat, which are texts or numbers."""
    different = len(tally.classes)
    # Small data sets may have up to 20 classes whatever their number of rows.
    if different <= max(20, tally.rows // 2):
        return []
    what = _(
        "{different:,} different labels in {rows:,} rows are unlikely to be classes: most occur only once.",
        different=different,
        rows=tally.rows,
    )
    hint = _("Set in data.columns which column is the label, or in data.problem what a label is.")
    return [Problem("labels_differ", "error", what, hint, tally.rows, facts.noted_rows("rows"))]


def _check_alike(facts: RowFacts, tally: LabelTally) -> list[Problem]:
    """Report classes that differ only in case, such as `True` and `true`, which are usually mistakes."""
    groups: dict[str, list[str]] = {}
    for name in tally.class_names:
        groups.setdefault(name.casefold(), []).append(name)
    alike = [same for same in groups.values() if len(same) > 1]
    if not alike:
        return []
    shown = ["/".join(one_line(name, 40) for name in same) for same in alike[:_SHOWN]]
    what = _(
        "Classes that differ only in case are trained as different classes: {names}.",
        names=", ".join(shown + ["…"] * (len(alike) > _SHOWN)),
    )
    hint = _("Use one spelling for each class in the rows, unless this is intended.")
    rows = [row for same in alike[:_SHOWN] for name in same for row in facts.noted_rows(f"class {name}")[:1]]
    count = sum(tally.classes[name] for same in alike for name in same)
    return [Problem("classes_alike", "warning", what, hint, count, rows[:FEW_ROWS])]


def _check_minus_one(facts: RowFacts, tally: LabelTally) -> list[Problem]:
    """Report the label -1, which marks rows without a label in some data sets."""
    others = [name for name in tally.classes if name != "-1"]
    count = tally.classes.get("-1", 0)
    # Next to 0 and 1, -1 is a real class in sentiment data (negative, neutral, positive).
    if not count or set(others) <= {"0", "1"} or not all(name.isdecimal() for name in others):
        return []
    what = _n(
        "{count:,} row has the label -1, which is trained as a class like the others.",
        "{count:,} rows have the label -1, which is trained as a class like the others.",
        count,
        count=count,
    )
    hint = _("If it means that there is no label, remove those rows.")
    return [Problem("label_minus_one", "warning", what, hint, count, facts.noted_rows("class -1"))]


def _check_shares(facts: RowFacts, tally: LabelTally, problem: str) -> list[Problem]:
    """Report classes with very few rows, and a class with most of them."""
    found = []
    rare = sorted((count, name) for name, count in tally.classes.items() if count < FEW_ROWS)
    if rare:
        shown = [f"{one_line(name, 40)} ({count})" for count, name in rare[:_SHOWN]]
        what = _n(
            "{count} class has fewer than {few} rows: {names}.",
            "{count} classes have fewer than {few} rows: {names}.",
            len(rare),
            count=len(rare),
            few=FEW_ROWS,
            names=", ".join(shown + ["…"] * (len(rare) > _SHOWN)),
        )
        hint = _("So few rows are hardly enough to learn or judge a class: add some, or merge classes.")
        rows = [row for _count, name in rare[:_SHOWN] for row in facts.noted_rows(f"class {name}")][:FEW_ROWS]
        found.append(
            Problem("few_rows_of_class", "warning", what, hint, sum(count for count, _name in rare), rows)
        )
    # With several classes per row, shares do not add up to 1, and a frequent class is not a majority.
    if problem == MULTI:
        return found
    most, least = max(tally.classes.values()), min(tally.classes.values())
    share = most / tally.rows
    if share >= MAJORITY or most >= UNEQUAL * least:
        largest = max(tally.classes, key=lambda name: tally.classes[name])
        smallest = min(tally.classes, key=lambda name: tally.classes[name])
        what = _(
            "The classes are unequal: {share:.0%} of the rows are {largest} ({most:,}), and {least:,} are "
            "{smallest}.",
            share=share,
            largest=one_line(largest, 40),
            most=most,
            least=least,
            smallest=one_line(smallest, 40),
        )
        weigh = write_setting({"training.class_weights": "balanced"})
        hint = build_hint(
            N_(
                "Rare classes count more with {command}; f1_macro shows how well they are predicted.",
                command=weigh,
            )
        )
        found.append(Problem("unequal_classes", "warning", what, hint))
    return found

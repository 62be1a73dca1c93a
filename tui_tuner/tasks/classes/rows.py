"""What is wrong or doubtful about the labels of all rows together."""

from __future__ import annotations

from tui_tuner.config.advice import advise, setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Facts
from tui_tuner.data.labels.problem import MULTI, REGRESSION, SINGLE, Tally
from tui_tuner.data.preflight import Problem, noted
from tui_tuner.locales import N_, _, _n
from tui_tuner.tasks.classes.head import classes_of_run, has_other_classes
from tui_tuner.text import listed, one_line, some_of

FEW_ROWS = 5  # of a class
UNEQUAL = 10  # times as many rows in the largest class as in the smallest
MAJORITY = 0.8  # of all rows in one class
_SHOWN = 8


def check_labels(facts: Facts, config: RunConfig, tally: Tally) -> list[Problem]:
    """Errors and warnings about labels; each names rows."""
    if not tally.rows:
        return []
    classes = classes_of_run(config, tally)
    found: list[Problem] = []
    if has_other_classes(classes, tally.base):
        found.append(_new_head(tally, classes.names, classes.problem))
    if classes.problem == REGRESSION:
        return found + _numbers(facts)
    if facts.count("too many"):
        return [*found, _too_many(facts.count("too many"), facts)]
    if facts.count("fractions"):
        return found + _fractions(facts)
    least = 2 if classes.problem == SINGLE else 1
    if len(tally.classes) < least:
        return [*found, _one_class(facts, tally)]
    if differing := _free_text(facts, tally):
        return found + differing
    found += _alike(facts, tally) + _missing_by_number(facts, tally)
    return found + _shares(facts, tally, classes.problem)


def _new_head(tally: Tally, names: list[str], problem: str) -> Problem:
    own = listed(some_of(tally.base, _SHOWN))
    if problem == REGRESSION:
        what = _(
            "The model's own head tells {count} classes apart ({own}), and these labels are numbers: it gets "
            "a new output with random weights.",
            count=len(tally.base),
            own=own,
        )
    else:
        wanted = listed(some_of(names, _SHOWN))
        what = _(
            "The model's own head tells other classes apart ({own}) than those of the rows ({wanted}): it "
            "gets new outputs with random weights.",
            own=own,
            wanted=wanted,
        )
    hint = _("To train that head on, name the classes of the rows as it does.")
    return Problem("new_head", "warning", what, hint)


def _numbers(facts: Facts) -> list[Problem]:
    return noted(
        facts,
        "texts",
        "label_no_number",
        "error",
        _("{count:,} labels are no numbers.", count=facts.count("texts")),
        advise(
            N_("Mend them, or learn classes with {command}.", command=setting({"data.problem": "single"}))
        ),
    )


def _fractions(facts: Facts) -> list[Problem]:
    """Numbers with a fraction among classes."""
    return noted(
        facts,
        "fractions",
        "label_fraction",
        "error",
        _n(
            "{count:,} label is a number with a fraction, and the others are classes (data.problem).",
            "{count:,} labels are numbers with a fraction, and the others are classes (data.problem).",
            facts.count("fractions"),
            count=facts.count("fractions"),
        ),
        advise(
            N_(
                "Mend them, learn numbers with {numbers}, or leave those rows out with {single}.",
                numbers=setting({"data.problem": REGRESSION}),
                single=setting({"data.problem": SINGLE}),
            )
        ),
    )


def _too_many(count: int, facts: Facts) -> Problem:
    what = _(
        "The labels are too many to be classes: beside the first 10,000, {count:,} rows have others.",
        count=count,
    )
    hint = _("Say in data.columns which column is the label.")
    return Problem("too_many_classes", "error", what, hint, count, facts.rows("too many"))


def _one_class(facts: Facts, tally: Tally) -> Problem:
    name = next(iter(tally.classes), None)
    if name is None:
        what = _("No row has any class, so there is nothing to learn.")
        return Problem("no_class", "error", what, _("Look at the labels."), tally.rows, facts.rows("rows"))
    what = _(
        "All {rows:,} rows have the same class, {name!r}, so there is nothing to tell apart.",
        rows=tally.rows,
        name=one_line(name, 60),
    )
    hint = _("Add rows of other classes, or say in data.columns which column is the label.")
    return Problem("one_class", "error", what, hint, tally.rows, facts.rows("rows"))


def _free_text(facts: Facts, tally: Tally) -> list[Problem]:
    """Labels that hardly come again are texts, or numbers."""
    different = len(tally.classes)
    if different <= max(20, tally.rows // 2):
        return []
    what = _(
        "{different:,} different labels in {rows:,} rows are hardly classes: most of them come but once.",
        different=different,
        rows=tally.rows,
    )
    hint = _("Say in data.columns which column is the label, or what a label is in data.problem.")
    return [Problem("labels_differ", "error", what, hint, tally.rows, facts.rows("rows"))]


def _alike(facts: Facts, tally: Tally) -> list[Problem]:
    """Classes that differ in capitals alone, as `True` and `true` do, are slips as a rule."""
    groups: dict[str, list[str]] = {}
    for name in tally.names:
        groups.setdefault(name.casefold(), []).append(name)
    alike = [same for same in groups.values() if len(same) > 1]
    if not alike:
        return []
    shown = ["/".join(one_line(name, 40) for name in same) for same in alike[:_SHOWN]]
    what = _(
        "Classes that differ in nothing but capitals are learnt as different ones: {names}.",
        names=", ".join(shown + ["…"] * (len(alike) > _SHOWN)),
    )
    hint = _("Write each class in one way in the rows, unless it is meant so.")
    rows = [row for same in alike[:_SHOWN] for name in same for row in facts.rows(f"class {name}")[:1]]
    count = sum(tally.classes[name] for same in alike for name in same)
    return [Problem("classes_alike", "warning", what, hint, count, rows[:FEW_ROWS])]


def _missing_by_number(facts: Facts, tally: Tally) -> list[Problem]:
    """-1 is how some data sets say that a row has no label."""
    others = [name for name in tally.classes if name != "-1"]
    count = tally.classes.get("-1", 0)
    if not count or set(others) <= {"0", "1"} or not all(name.isdecimal() for name in others):
        return []
    what = _n(
        "{count:,} row has the label -1, which is learnt as a class like the others.",
        "{count:,} rows have the label -1, which is learnt as a class like the others.",
        count,
        count=count,
    )
    hint = _("Where it means that there is no label, take those rows out.")
    return [Problem("label_minus_one", "warning", what, hint, count, facts.rows("class -1"))]


def _shares(facts: Facts, tally: Tally, problem: str) -> list[Problem]:
    """Classes with very few rows, and one that has most of them."""
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
        hint = _("So few can hardly be learnt or judged: add some, or join classes.")
        rows = [row for _count, name in rare[:_SHOWN] for row in facts.rows(f"class {name}")][:FEW_ROWS]
        found.append(
            Problem("few_rows_of_class", "warning", what, hint, sum(count for count, _name in rare), rows)
        )
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
        weigh = setting({"training.class_weights": "balanced"})
        hint = advise(
            N_("Rare classes count more with {command}; f1_macro shows how they do.", command=weigh)
        )
        found.append(Problem("unequal_classes", "warning", what, hint))
    return found

"""What is wrong with single rows, where there are enough of them to matter: repeats, damage, remains.

A smaller share than the one named here is told as a figure, and not as a concern: nearly all real data has
some of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tui_tuner.config.schema import RunConfig
from tui_tuner.guiding.looking.tally import Tally
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import _

# Shares of the rows from which on something is a concern, each with its reason
DUPLICATES = 0.05  # near duplicates make 0.4 to 14 % of four public sets (arXiv 2107.06499)
CONTRADICTIONS = 0.01  # a third of the wrong labels usual in well-kept sets, 3.3 % (arXiv 2103.14749)
REFUSALS = 0.01  # 1 in 100: as rare as rows that a run drops without asking (data.max_dropped)
DAMAGED = 0.01  # likewise
HTML = 0.05  # fewer are texts that speak of markup
PERSONAL = 0.01
CUT = 0.05  # answers of one and the same greatest length by chance: hardly any of more than 100 characters
LEAST_CUT = 100  # characters
FEW = 3  # rows: less may be chance


def noise(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    """Every concern of this kind, what matters most first."""
    for rule in _NOISE:
        yield from rule(tally, config)


def _duplicates(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _many(tally.duplicates, tally.rows, DUPLICATES):
        yield Concern(
            "duplicates",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) repeat an earlier one exactly, first {place}: they "
                "count several times.",
                count=(found := tally.duplicates),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("duplicates", ""),
            ),
            _("Leave the copies out."),
            fixes=((_("Leave the copies out"), {"data.cleaning.exact_duplicates": True}),),
        )


def _contradictions(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if tally.contradictions and tally.contradictions >= CONTRADICTIONS * tally.rows:
        yield Concern(
            "contradictions",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) say something else of a text than an earlier row, "
                "first {place}: one of the two is wrong.",
                count=(found := tally.contradictions),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("contradictions", ""),
            ),
            _("Decide which is right, or write both into one row, as a list of classes."),
        )


def _refusals(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _many(tally.refusals, tally.rows, REFUSALS):
        yield Concern(
            "refusals",
            _(
                "In {count:,} of {rows:,} rows ({share:.0%}) the answer refuses or speaks of being a "
                "language model, first {place}: the model would learn that, too.",
                count=(found := tally.refusals),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("refusals", ""),
            ),
            _("Leave them out, unless that is what it should learn."),
            fixes=((_("Leave them out"), {"data.cleaning.refusals": True}),),
        )


def _cut_off(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    count, longest = tally.cut_answers()
    answers = len(tally.answers)
    if longest >= LEAST_CUT and count > FEW and count >= CUT * answers:
        yield Concern(
            "cut_off",
            _(
                "{count:,} of {answers:,} answers are exactly {longest:,} characters long and end within a "
                "sentence: something has cut them off, and the model would learn to stop there.",
                count=count,
                answers=answers,
                longest=longest,
            ),
            _("Get the whole answers, or leave these rows out."),
        )


def _encoding(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    if _many(tally.lost + tally.misread, tally.rows, DAMAGED):
        yield Concern(
            "encoding",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) hold letters that were read in a wrong encoding, "
                "such as Ã© for é, first {place}.",
                count=(found := tally.lost + tally.misread),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("encoding", ""),
            ),
            _("Save the file as UTF-8 where it comes from, or name its encoding (data.encoding)."),
        )


def _html(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    if _many(tally.html, tally.rows, HTML):
        placed = config.task_kind.decides in ("token", "span")  # places in a text that is not to change
        yield Concern(
            "html",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) hold remains of web pages, such as <br>, first "
                "{place}: the model reads and learns them.",
                count=(found := tally.html),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("html", ""),
            ),
            _("Take them out before words are marked.") if placed else _("Make plain text of them."),
            fixes=() if placed else ((_("Make plain text of them"), {"data.cleaning.html": "text"}),),
        )


def _hollow(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _many(tally.hollow, tally.rows, DAMAGED):
        yield Concern(
            "empty_rows",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) hold nothing but blanks, first {place}.",
                count=(found := tally.hollow),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("hollow", ""),
            ),
            _("Fill them in, or leave them out."),
            fixes=((_("Leave them out"), {"data.cleaning.min_characters": 1}),),
        )


def _personal(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _many(tally.emails, tally.rows, PERSONAL):
        yield Concern(
            "personal_data",
            _(
                "{count:,} of {rows:,} rows hold an e-mail address: a model may learn it by heart and say "
                "it.",
                count=tally.emails,
                rows=tally.rows,
            ),
            _("Replace them by made-up ones, unless everybody may read them."),
        )


_NOISE: tuple[Callable[[Tally, RunConfig], Iterator[Concern]], ...] = (
    _contradictions,
    _duplicates,
    _refusals,
    _cut_off,
    _hollow,
    _encoding,
    _html,
    _personal,
)


def _many(count: int, rows: int, share: float) -> bool:
    return count >= min(FEW, max(1, rows // 10)) and count >= share * rows

"""Concerns about single rows, if there are enough of them to matter: duplicates, damage, leftovers.

Shares below the limits here are shown as figures, not as concerns: nearly all real data has some of
everything.
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
REFUSALS = 0.01  # 1 in 100: the default of data.max_dropped, the share of rows that a run may drop
DAMAGED = 0.01  # likewise
HTML = 0.05  # below, they are texts about markup
PERSONAL = 0.01
CUT = 0.05  # by chance, hardly any answers of more than 100 characters share the greatest length
LEAST_CUT = 100  # characters
FEW = 3  # rows: less may be chance


def find_noise(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    """Yield every concern about single rows, the most important first."""
    for rule in _NOISE:
        yield from rule(tally, config)


def _find_duplicates(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _is_frequent(tally.duplicates, tally.rows, DUPLICATES):
        yield Concern(
            "duplicates",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) repeat an earlier row exactly, first {place}: they "
                "count several times.",
                count=(found := tally.duplicates),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("duplicates", ""),
            ),
            _("Skip the copies."),
            fixes=((_("Skip the copies"), {"data.cleaning.exact_duplicates": True}),),
        )


def _find_contradictions(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if tally.contradictions and tally.contradictions >= CONTRADICTIONS * tally.rows:
        yield Concern(
            "contradictions",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) label a text differently from an earlier row, "
                "first {place}: one of the two is wrong.",
                count=(found := tally.contradictions),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("contradictions", ""),
            ),
            _("Decide which is right, or write both into one row, as a list of classes."),
        )


def _find_refusals(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _is_frequent(tally.refusals, tally.rows, REFUSALS):
        yield Concern(
            "refusals",
            _(
                "In {count:,} of {rows:,} rows ({share:.0%}) the answer refuses or mentions being a "
                "language model, first {place}: the model would learn that, too.",
                count=(found := tally.refusals),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("refusals", ""),
            ),
            _("Leave them out, unless that is what it should learn."),
            fixes=((_("Leave them out"), {"data.cleaning.refusals": True}),),
        )


def _find_cut_answers(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    # Many answers of exactly the greatest length, without an end: the limit of the program that generated
    # them
    count, longest = tally.count_cut_answers()
    answers = len(tally.answers)
    if longest >= LEAST_CUT and count > FEW and count >= CUT * answers:
        yield Concern(
            "cut_off",
            _(
                "{count:,} of {answers:,} answers are exactly {longest:,} characters long and end within a "
                "sentence: they were cut off, and the model would learn to stop there.",
                count=count,
                answers=answers,
                longest=longest,
            ),
            _("Get the complete answers, or leave these rows out."),
        )


def _find_wrong_encoding(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    if _is_frequent(tally.lost + tally.misread, tally.rows, DAMAGED):
        yield Concern(
            "encoding",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) contain letters that were decoded wrongly, "
                "such as Ã© for é, first {place}.",
                count=(found := tally.lost + tally.misread),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("encoding", ""),
            ),
            _("Export the file again as UTF-8, or name its encoding (data.encoding)."),
        )


def _find_html(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    if _is_frequent(tally.html, tally.rows, HTML):
        # Their positions in the text must stay valid
        placed = config.task_kind.decides in ("token", "span")
        yield Concern(
            "html",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) contain HTML such as <br>, first "
                "{place}: the model reads and learns it.",
                count=(found := tally.html),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("html", ""),
            ),
            _("Remove it before words are marked.") if placed else _("Convert them to plain text."),
            fixes=() if placed else ((_("Convert them to plain text"), {"data.cleaning.html": "text"}),),
        )


def _find_blank_rows(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _is_frequent(tally.hollow, tally.rows, DAMAGED):
        yield Concern(
            "empty_rows",
            _(
                "{count:,} of {rows:,} rows ({share:.0%}) contain nothing but blanks, first {place}.",
                count=(found := tally.hollow),
                rows=tally.rows,
                share=found / tally.rows,
                place=tally.examples.get("hollow", ""),
            ),
            _("Fill them in, or leave them out."),
            fixes=((_("Leave them out"), {"data.cleaning.min_characters": 1}),),
        )


def _find_personal_data(tally: Tally, _config: RunConfig) -> Iterator[Concern]:
    if _is_frequent(tally.emails, tally.rows, PERSONAL):
        yield Concern(
            "personal_data",
            _(
                "{count:,} of {rows:,} rows contain an e-mail address: a model may memorise and repeat it.",
                count=tally.emails,
                rows=tally.rows,
            ),
            _("Replace them with made-up ones, unless they are public."),
        )


_NOISE: tuple[Callable[[Tally, RunConfig], Iterator[Concern]], ...] = (
    _find_contradictions,
    _find_duplicates,
    _find_refusals,
    _find_cut_answers,
    _find_blank_rows,
    _find_wrong_encoding,
    _find_html,
    _find_personal_data,
)


def _is_frequent(count: int, rows: int, share: float) -> bool:
    # Tiny files of fewer than 30 rows report their first few findings, too
    return count >= min(FEW, max(1, rows // 10)) and count >= share * rows

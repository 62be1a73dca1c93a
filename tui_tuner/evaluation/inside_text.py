"""Show answers and entities inside their text: parts to write in sequence, on a screen or in a line.

Signs distinguish them, so that colours are not needed:

    [Ann Smith]PER         found and correct (or nothing to compare with)
    [Paris]PER✗            found but wrong; [Paris]PER✗LOC if the data has another label for it
    {Berlin}LOC            in the data but not found
    [New York]~            an answer that overlaps with the data's
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tui_tuner.evaluation.samples import ShownSample, Span
from tui_tuner.text import one_line, sanitize

MOST_SPANS = 2000  # spans of one text that are used
AROUND = 240  # characters of a long text shown on each side of a mark
SHORT = 900  # longest text in characters that is shown whole
LONGEST_LABEL = 24

# Roles of a part, for its colour: plain text, a mark or label of the program, or marked text
PLAIN, MARK, FOUND, RIGHT, PARTLY, WRONG, MISSED = "", "mark", "found", "right", "partly", "wrong", "missed"


class Part(NamedTuple):
    """A piece of the output: text that is safe for a terminal, its role (`RIGHT` ...), its label."""

    text: str
    role: str = PLAIN
    label: str = ""


APART = Part("\n", MARK)  # before what has no place in the text


class MarkedSpan(NamedTuple):
    """A span in the text, its role, and the label that the data has there."""

    span: Span
    role: str
    other: str = ""


def read_shown_sample(values: Any) -> ShownSample:
    """Read what a task showed from an event `sample` or from JSON; damaged values are left out."""

    def get_value(name: str) -> Any:
        return values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)

    text = {name: found if isinstance(found := get_value(name), str) else "" for name in ("prompt", "text")}
    passage, reference = get_value("passage"), get_value("reference")
    passage = passage if isinstance(passage, str) else ""
    length = len(passage or text["prompt"])
    return ShownSample(
        **text,
        reference=reference if isinstance(reference, str) else "",
        stopped=bool(get_value("stopped")),
        passage=passage,
        found=_read_spans(get_value("found"), length),
        wanted=_read_spans(get_value("wanted"), length),
        scores=_read_choices(get_value("scores")),
        further=[_read_choices(choices) for choices in _as_list(get_value("further"))],
    )


def _read_choices(values: Any) -> list[tuple[str, float]]:
    found = []
    for item in _as_list(values):
        if isinstance(item, list | tuple) and len(item) == 2:
            score = _as_number(item[1])
            if score is not None:
                found.append((str(item[0]), score))
    return found


def _as_list(value: Any) -> Sequence[Any]:
    return value[:MOST_SPANS] if isinstance(value, list | tuple) else ()


def _as_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_spans(values: Any, length: int) -> list[Span]:
    """Return the spans inside a text of this length, in order."""
    found = []
    for value in _as_list(values):
        if isinstance(value, Span):
            span = value
        elif isinstance(value, Mapping):
            start, end = value.get("start"), value.get("end")
            if type(start) is not int or type(end) is not int:
                continue
            span = Span(start, end, str(value.get("label") or ""), _as_number(value.get("score")))
        else:
            continue
        if 0 <= span.start < span.end <= length:
            found.append(span)
    return sorted(found, key=lambda span: (span.start, -span.end))


def is_output_inside_text(shown: ShownSample) -> bool:
    """Return whether the output is in a text or is a choice, rather than text that was generated."""
    return bool(shown.passage or shown.found or shown.wanted or shown.scores)


def is_prediction_right(shown: ShownSample) -> bool | None:
    """Return whether a prediction agrees with the data; None if it cannot be right or wrong."""
    if shown.passage or shown.found or shown.wanted:
        found, wanted = _span_keys(shown.found), _span_keys(shown.wanted)
        if _has_labels(shown) or not shown.scores:
            return found == wanted
        if not wanted and not shown.reference:
            return not found
        return bool(found & wanted) or (bool(shown.text) and have_same_words(shown.text, shown.reference))
    if shown.scores and shown.reference:
        return shown.text.strip() == shown.reference.strip()
    return None


def have_same_words(one: str, other: str) -> bool:
    """Return whether two texts are equal except for case, blanks and punctuation at the ends."""
    return _strip_text(one) == _strip_text(other)


def _strip_text(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'")


def _span_keys(spans: Iterable[Span]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.label) for span in spans}


def _has_labels(shown: ShownSample) -> bool:
    return any(span.label for span in (*shown.found, *shown.wanted))


def mark_text_spans(shown: ShownSample, judged: bool) -> tuple[list[MarkedSpan], list[Span]]:
    """Return the spans to mark in the text, without overlaps, and those of the data that did not fit.

    Args:
        judged: Whether `wanted` has the correct spans; otherwise nothing is marked right or wrong.
    """
    # Reversed, so that the first of several spans with equal edges wins.
    wanted = {(span.start, span.end): span for span in reversed(shown.wanted)}
    keys, labelled = _span_keys(shown.wanted), _has_labels(shown)
    marks: list[MarkedSpan] = []
    for span in shown.found:
        # Brackets cannot overlap in one line of text; the first span stays.
        if marks and span.start < marks[-1].span.end:
            continue
        same = wanted.get((span.start, span.end))
        if not judged:
            marks.append(MarkedSpan(span, FOUND))
        elif (span.start, span.end, span.label) in keys:
            marks.append(MarkedSpan(span, RIGHT))
        elif same is not None:
            marks.append(MarkedSpan(span, WRONG, same.label))
        elif not labelled and any(_do_overlap(span, other) for other in shown.wanted):
            marks.append(MarkedSpan(span, PARTLY))
        else:
            marks.append(MarkedSpan(span, WRONG))
    if not judged or (not labelled and any(mark.role == RIGHT for mark in marks)):
        # A question may have several correct answers, and one of them is enough.
        return marks, []
    covered = [mark.span for mark in marks]
    left: list[Span] = []
    missed: list[Span] = []
    # Without labels the spans are alternative answers, of which one is enough to show.
    for span in shown.wanted if labelled else shown.wanted[:1]:
        if (span.start, span.end) in {(one.start, one.end) for one in covered}:
            continue
        if any(_do_overlap(span, one) for one in (*covered, *missed)):
            left.append(span)
        else:
            missed.append(span)
    marks += [MarkedSpan(span, MISSED) for span in missed]
    return sorted(marks, key=lambda mark: mark.span.start), left


def _do_overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def split_marked_parts(
    shown: ShownSample, judged: bool = True, around: int = AROUND, short: int = SHORT
) -> list[Part]:
    """Return the text with the spans that were found and those that should have been.

    Args:
        around: Characters kept on each side of a mark, if the text is longer than `short`.
    """
    text = shown.passage or shown.prompt
    marks, left = mark_text_spans(shown, judged)
    kept = _choose_windows(text, [mark.span for mark in marks], around, short)
    parts: list[Part] = []
    for start, end in kept:
        if start > 0:
            parts.append(Part("… " if not parts else " … ", MARK))
        at = start
        for mark in marks:
            if start <= mark.span.start < end:
                parts.append(Part(sanitize(text[at : mark.span.start])))
                parts += _marked_parts(text, mark)
                at = mark.span.end
        parts.append(Part(sanitize(text[at:end])))
    if kept and kept[-1][1] < len(text):
        parts.append(Part(" …", MARK))
    for span in left:
        parts += [APART, *_marked_parts(text, MarkedSpan(span, MISSED))]
    return [part for part in parts if part.text]


def _marked_parts(text: str, mark: MarkedSpan) -> list[Part]:
    opening, closing = "{}" if mark.role == MISSED else "[]"
    sign = {WRONG: "✗", PARTLY: "~"}.get(mark.role, "")
    label = one_line(mark.span.label, LONGEST_LABEL) + sign + one_line(mark.other, LONGEST_LABEL)
    inside = sanitize(text[mark.span.start : mark.span.end])
    return [
        Part(opening, MARK),
        Part(inside, mark.role, mark.span.label),
        Part(closing, MARK),
        Part(label, mark.role),
    ]


def _choose_windows(text: str, spans: Sequence[Span], around: int, short: int) -> list[tuple[int, int]]:
    """Return the parts of a text to show: all of a short one, or the surroundings of the spans."""
    if len(text) <= short:
        return [(0, len(text))]
    if not spans:
        return [(0, _at_blank(text, min(2 * around, len(text)), 1))]
    kept: list[tuple[int, int]] = []
    for span in spans:
        # Cut between words, so that no half word looks like a mistake of the model.
        start = _at_blank(text, max(0, span.start - around), -1)
        end = _at_blank(text, min(len(text), span.end + around), 1)
        if kept and start <= kept[-1][1]:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept


def _at_blank(text: str, place: int, way: int) -> int:
    """Return the nearest end of a word in a direction, or the place itself if there is none near."""
    for step in range(24):
        at = place + way * step
        if at <= 0 or at >= len(text):
            return max(0, min(len(text), at))
        if text[at].isspace() if way > 0 else text[at - 1].isspace():
            return at
    return place


def join_marked_parts(parts: Iterable[Part]) -> str:
    """Join parts to one line of plain text."""
    return one_line("".join("  " if part == APART else part.text for part in parts).strip())

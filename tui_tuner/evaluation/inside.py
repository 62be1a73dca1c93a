"""Answers and entities inside their text: parts to be written one after the other, on a screen or in a line.

What tells them apart is written out, so that nobody needs colours:

    [Ann Smith]PER         found, and right (or nobody knows)
    [Paris]PER✗            found, and wrong; [Paris]PER✗LOC where the data has another label for it
    {Berlin}LOC            in the data, and not found
    [New York]~            an answer that shares a part with the data's
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tui_tuner.evaluation.samples import Shown, Span
from tui_tuner.text import one_line, sanitize

MOST_SPANS = 2000  # of one text that are looked at
AROUND = 240  # characters of a long text left standing on each side of what is marked
SHORT = 900  # characters up to which a text is shown whole
LONGEST_LABEL = 24

# What a part is, for its colour: plain text, a mark or label of the program's own, or text that is marked
PLAIN, MARK, FOUND, RIGHT, PARTLY, WRONG, MISSED = "", "mark", "found", "right", "partly", "wrong", "missed"


class Part(NamedTuple):
    """A piece of what is written: text that is safe for a terminal, what it is (`RIGHT` ...), its label."""

    text: str
    role: str = PLAIN
    label: str = ""


APART = Part("\n", MARK)  # before what has no place in the text


class Marked(NamedTuple):
    """A span that stands in the text, its verdict, and the label that the data has in its place."""

    span: Span
    role: str
    other: str = ""


def read_shown(values: Any) -> Shown:
    """What a task showed, from an event `sample` or from JSON; what is damaged in it is left out."""

    def get(name: str) -> Any:
        return values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)

    text = {name: found if isinstance(found := get(name), str) else "" for name in ("prompt", "text")}
    passage, reference = get("passage"), get("reference")
    passage = passage if isinstance(passage, str) else ""
    length = len(passage or text["prompt"])
    scores = []
    for item in _listed(get("scores")):
        if isinstance(item, list | tuple) and len(item) == 2:
            score = _number(item[1])
            if score is not None:
                scores.append((str(item[0]), score))
    return Shown(
        **text,
        reference=reference if isinstance(reference, str) else "",
        stopped=bool(get("stopped")),
        passage=passage,
        found=_spans(get("found"), length),
        wanted=_spans(get("wanted"), length),
        scores=scores,
    )


def _listed(value: Any) -> Sequence[Any]:
    return value[:MOST_SPANS] if isinstance(value, list | tuple) else ()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _spans(values: Any, length: int) -> list[Span]:
    """Spans that lie inside a text of so many characters, in their order."""
    found = []
    for value in _listed(values):
        if isinstance(value, Span):
            span = value
        elif isinstance(value, Mapping):
            start, end = value.get("start"), value.get("end")
            if type(start) is not int or type(end) is not int:
                continue
            span = Span(start, end, str(value.get("label") or ""), _number(value.get("score")))
        else:
            continue
        if 0 <= span.start < span.end <= length:
            found.append(span)
    return sorted(found, key=lambda span: (span.start, -span.end))


def is_inside(shown: Shown) -> bool:
    """Whether what was shown lies in a text, or is a choice; otherwise it is a text that was written."""
    return bool(shown.passage or shown.found or shown.wanted or shown.scores)


def verdict(shown: Shown) -> bool | None:
    """Whether a prediction is what the data says; None where that is no matter of right or wrong."""
    if shown.passage or shown.found or shown.wanted:
        found, wanted = _keys(shown.found), _keys(shown.wanted)
        if _labelled(shown) or not shown.scores:
            return found == wanted
        if not wanted and not shown.reference:
            return not found
        return bool(found & wanted) or (bool(shown.text) and same_words(shown.text, shown.reference))
    if shown.scores and shown.reference:
        return shown.text.strip() == shown.reference.strip()
    return None


def same_words(one: str, other: str) -> bool:
    """Whether two texts are equal but for letters' case, blanks, and points at their ends."""
    return _bare(one) == _bare(other)


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'")


def _keys(spans: Iterable[Span]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.label) for span in spans}


def _labelled(shown: Shown) -> bool:
    return any(span.label for span in (*shown.found, *shown.wanted))


def mark_spans(shown: Shown, judged: bool) -> tuple[list[Marked], list[Span]]:
    """The spans to write into the text, none over another, and those of the data that found no place there.

    Args:
        judged: Whether `wanted` is what the data says; otherwise nobody knows what is right.
    """
    wanted = {(span.start, span.end): span for span in reversed(shown.wanted)}
    keys, labelled = _keys(shown.wanted), _labelled(shown)
    marks: list[Marked] = []
    for span in shown.found:
        if marks and span.start < marks[-1].span.end:
            continue
        same = wanted.get((span.start, span.end))
        if not judged:
            marks.append(Marked(span, FOUND))
        elif (span.start, span.end, span.label) in keys:
            marks.append(Marked(span, RIGHT))
        elif same is not None:
            marks.append(Marked(span, WRONG, same.label))
        elif not labelled and any(_overlap(span, other) for other in shown.wanted):
            marks.append(Marked(span, PARTLY))
        else:
            marks.append(Marked(span, WRONG))
    if not judged or (not labelled and any(mark.role == RIGHT for mark in marks)):
        return marks, []  # one of several answers is enough
    covered = [mark.span for mark in marks]
    left: list[Span] = []
    missed: list[Span] = []
    for span in shown.wanted if labelled else shown.wanted[:1]:
        if (span.start, span.end) in {(one.start, one.end) for one in covered}:
            continue
        if any(_overlap(span, one) for one in (*covered, *missed)):
            left.append(span)
        else:
            missed.append(span)
    marks += [Marked(span, MISSED) for span in missed]
    return sorted(marks, key=lambda mark: mark.span.start), left


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def inside_parts(shown: Shown, judged: bool = True, around: int = AROUND, short: int = SHORT) -> list[Part]:
    """The text with what was found in it, and what should have been.

    Args:
        around: Characters kept on each side of a mark, where the text is longer than `short`.
    """
    text = shown.passage or shown.prompt
    marks, left = mark_spans(shown, judged)
    kept = _windows(text, [mark.span for mark in marks], around, short)
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
        parts += [APART, *_marked_parts(text, Marked(span, MISSED))]
    return [part for part in parts if part.text]


def _marked_parts(text: str, mark: Marked) -> list[Part]:
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


def _windows(text: str, spans: Sequence[Span], around: int, short: int) -> list[tuple[int, int]]:
    """What of a text is shown: all of a short one, of a long one the parts around the spans."""
    if len(text) <= short:
        return [(0, len(text))]
    if not spans:
        return [(0, _at_blank(text, min(2 * around, len(text)), 1))]
    kept: list[tuple[int, int]] = []
    for span in spans:
        start = _at_blank(text, max(0, span.start - around), -1)
        end = _at_blank(text, min(len(text), span.end + around), 1)
        if kept and start <= kept[-1][1]:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept


def _at_blank(text: str, place: int, way: int) -> int:
    """The nearest end of a word in a direction; the place itself where there is none near."""
    for step in range(24):
        at = place + way * step
        if at <= 0 or at >= len(text):
            return max(0, min(len(text), at))
        if text[at].isspace() if way > 0 else text[at - 1].isspace():
            return at
    return place


def written(parts: Iterable[Part]) -> str:
    """Parts as one line of plain text."""
    return one_line("".join("  " if part == APART else part.text for part in parts).strip())

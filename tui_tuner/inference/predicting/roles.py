"""Which column of a file is what, for a model that is to say something about its rows; no answers needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds import TaskKind
from tui_tuner.data.formats.advice import columns_seen
from tui_tuner.data.formats.labelled import LABELLED_PAIRS, PAIRS
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, NAMES, Column, Sample, plain_name
from tui_tuner.data.formats.parts.turns import chat_shape
from tui_tuner.data.formats.token_tags import TOKEN_NAMES
from tui_tuner.data.formats.transcript import is_transcript
from tui_tuner.errors import DataError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line, some_of

SHOWN = 12
_CHAT_NAMES = (*NAMES["messages"], "data")
_ALIASES = {"instruction": "prompt", "conversations": "messages", "sentence1": "text", "sentence2": "pair"}
_CONTEXTS = ("context", "text", "passage", "document", "article", "paragraph", "body", "content")
_QUESTIONS = ("question", "query", "prompt", "questions")
# Chats with an answer at their end, where a file has no other
_ANSWERED = ("chosen", "rejected")
# Where answers, classes and tags stand: no text that one asks about
_ANSWERS = {
    *NAMES["response"],
    *LABEL_NAMES,
    *("labels", "tags", "ner_tags", "answers", "target", "id", "summary"),
}


@dataclass(frozen=True)
class Kind:
    """What a task reads of a row.

    Args:
        ways: Sets of roles that suffice, the one that is looked for first in front.
        more: Roles that a row may have beside them.
    """

    ways: tuple[tuple[str, ...], ...]
    more: tuple[str, ...] = ()

    @property
    def roles(self) -> list[str]:
        """All of them."""
        return list(dict.fromkeys([role for way in self.ways for role in way] + list(self.more)))


_WRITES = Kind((("messages",), ("prompt",), ("text",)), ("input", "system", "history", "tools"))
_ABOUT_TEXT = Kind((("text",),))
_KINDS = {
    "text": Kind((("text",),), ("pair",)),
    "token": Kind((("tokens",), ("text",))),
    "span": Kind((("question", "context"),)),
}


@dataclass(frozen=True)
class Roles:
    """The column for each role."""

    columns: dict[str, str]


def roles_of(kind: TaskKind, text_alone: bool = False) -> Kind:
    """What a model of a task reads of a row; of one that is asked by our own prompt a text alone."""
    if not kind.writes:
        return _KINDS.get(kind.decides, _ABOUT_TEXT)
    return _ABOUT_TEXT if text_alone else _WRITES


def find_roles(
    kind: Kind,
    rows: Sequence[dict[str, Any]],
    told: Mapping[str, str],
    trained: Mapping[str, str],
    where: str,
) -> Roles:
    """The columns of a file: as the user says, as the model was trained, or by their names.

    Args:
        rows: The first ones that can be read.
        told: Role -> column of `--column`.
        trained: The same of the config of the model's run.

    Raises:
        UsageError: a role or a column that there is not.
        DataError: it is not clear which column is meant.
    """
    sample = Sample(rows, where)
    if told:
        return Roles(_as_told(kind, sample, told))
    columns = _as_trained(kind, sample, trained) or _by_names(kind, sample)
    if columns is None:
        raise _unclear(kind, sample, [])
    return Roles(columns)


def _as_told(kind: Kind, sample: Sample, told: Mapping[str, str]) -> dict[str, str]:
    found = {_ALIASES.get(role, role): name for role, name in told.items()}
    for role, name in found.items():
        if role not in kind.roles:
            raise UsageError(
                _("this model reads no {role!r}.", role=one_line(role, 40)),
                where="--column",
                hint=_("It reads {roles}: such as --column {example}.", roles=", ".join(kind.roles),
                       example=f"{kind.roles[0]}={one_line(name, 40)}"),
            )  # fmt: skip
        if name not in sample.columns:
            raise UsageError(
                _(
                    "{where} has no column {name!r}. {columns}",
                    where=sample.where,
                    name=one_line(name, 60),
                    columns=columns_seen(sample),
                ),
                where="--column",
            )
    if any(set(way) <= set(found) for way in kind.ways):
        return found
    rest = _by_names(kind, sample, {**found})  # `--column context=passage`: the question by its name
    if rest is None or not all(rest.get(role) == name for role, name in found.items()):
        raise _unclear(kind, sample, [], found)
    return rest


def _as_trained(kind: Kind, sample: Sample, trained: Mapping[str, str]) -> dict[str, str] | None:
    """The columns of the run's own config, where they are all here."""
    known = {_ALIASES.get(role, role): name for role, name in trained.items()}
    here = {role: name for role, name in known.items() if role in kind.roles and name in sample.columns}
    return here if any(set(way) <= set(here) for way in kind.ways) else None


def _by_names(kind: Kind, sample: Sample, given: Mapping[str, str] | None = None) -> dict[str, str] | None:
    given = given or {}
    for way in kind.ways:
        found = dict(given)
        for role in way:
            column = given.get(role) or _FINDERS[role](kind, sample, set(found.values()))
            if column is None:
                break
            found[role] = column
        else:
            return {**found, **_beside(kind, sample, found)}
    return None


def _beside(kind: Kind, sample: Sample, found: Mapping[str, str]) -> dict[str, str]:
    """Roles that a row may have beside those that it needs."""
    taken = list(found.values())
    if "pair" in kind.more and "pair" not in found:
        pair = _pair_of(sample, found["text"])
        return {"pair": pair} if pair else {}
    wanted = [role for role in kind.more if role not in found]
    if "messages" in found:
        wanted = [role for role in wanted if role in ("system", "tools")]
    elif "prompt" not in found:
        wanted = [role for role in wanted if role in ("system", "tools", "history")]
    return sample.optional(*wanted, taken=taken)


# ---- one role each: its column, or None -------------------------------------------------------------------


def _messages(kind: Kind, sample: Sample, taken: set[str]) -> str | None:
    turns = [one for one in sample.columns.values() if one.filled and _holds_turns(one)]
    rounds = [one for one in sample.named(_CHAT_NAMES) if chat_shape(one.example)]
    free = [one for one in turns or rounds if one.plain not in (*_ANSWERED, "history")]
    prompts = [one for one in free if one.plain in NAMES["prompt"] and one not in sample.named("messages")]
    known = [one for one in free if one in sample.named("messages")] or [
        one for one in free if one not in prompts and one.plain not in _ANSWERS
    ]
    if len(known) > 1:
        raise _unclear(kind, sample, known, role="messages")
    if known:
        return known[0].name
    if prompts or sample.named("prompt"):
        return None
    answered = [one for one in turns if one.plain in _ANSWERED]
    return answered[0].name if answered else None


def _holds_turns(column: Column) -> bool:
    return chat_shape(column.example) in ("from_value", "role_content", "rounds") or (
        column.mostly("text") and is_transcript(column.example)
    )


def _prompt(kind: Kind, sample: Sample, taken: set[str]) -> str | None:
    found = [
        one
        for one in sample.named("prompt")
        if one.name not in taken and (one.worded or chat_shape(one.example))
    ]
    more = [one for one in found if one.plain != "input"]
    found = more or found
    if len(found) > 1:
        best = [one for one in found if one.plain in ("prompt", "instruction")]
        if len(best) != 1:
            raise _unclear(kind, sample, found, role="prompt")
        found = best
    return found[0].name if found else None


def _text(kind: Kind, sample: Sample, taken: set[str]) -> str | None:
    texts = [one for one in sample.of_kind("text") if one.name not in taken]
    named = [one for one in sample.named("text") if one.name not in taken and one.worded]
    if "pair" in kind.more:
        for first, second in (*PAIRS, *LABELLED_PAIRS):
            one, two = sample.get(first), sample.get(second)
            if one and two and one in texts and two in texts:
                return one.name
    if named and (len(named) == 1 or named[0].plain == "text"):
        return named[0].name
    if named:
        raise _unclear(kind, sample, named, role="text")
    likely = [one for one in texts if one.plain not in _ANSWERS] or (texts if len(texts) == 1 else [])
    if len(likely) == 1:
        return likely[0].name
    asked = [one for one in sample.named("prompt", "text") if one.name not in taken]
    if len(asked) == 1 and ("messages",) not in kind.ways:
        return asked[0].name
    if len(likely) > 1:
        raise _unclear(kind, sample, likely, role="text")
    return None


def _pair_of(sample: Sample, text: str) -> str | None:
    """The second text that belongs to a first one, by both names."""
    plain = plain_name(text)
    for first, second in (*PAIRS, *LABELLED_PAIRS):
        other = sample.get(second)
        if plain == first and other and other.mostly("text"):
            return other.name
    return None


def _tokens(kind: Kind, sample: Sample, taken: set[str]) -> str | None:
    lists = [one for one in sample.columns.values() if one.mostly("texts") or _written_list(one)]
    named = [one for one in lists if one.plain in TOKEN_NAMES]
    found = named or (
        [] if sample.named("text", "text") else [one for one in lists if one.plain not in _ANSWERS]
    )
    if len(found) > 1 and not named:
        raise _unclear(kind, sample, found, role="tokens")
    return found[0].name if found else None


def _written_list(column: Column) -> bool:
    from tui_tuner.data.formats.parts.columns import kind_of, loads_if_json

    return column.mostly("text") and kind_of(loads_if_json(column.example)) == "texts"


def _question(kind: Kind, sample: Sample, taken: set[str]) -> str | None:
    found = [one for one in sample.named(_QUESTIONS, "text") if one.name not in taken]
    return found[0].name if found else None


def _context(kind: Kind, sample: Sample, taken: set[str]) -> str | None:
    found = [one for one in sample.named(_CONTEXTS, "text") if one.name not in taken]
    return found[0].name if found else None


_FINDERS = {
    "messages": _messages,
    "prompt": _prompt,
    "text": _text,
    "tokens": _tokens,
    "question": _question,
    "context": _context,
}


def _unclear(
    kind: Kind,
    sample: Sample,
    candidates: Sequence[Column],
    given: Mapping[str, str] | None = None,
    role: str = "",
) -> DataError:
    """Which column is meant is for the user to say."""
    if candidates:
        names = some_of([one.name for one in candidates], SHOWN)
        return DataError(
            _("several columns could be the {role}: {names}.", role=role, names=", ".join(names)),
            where=sample.where,
            hint=_("Say which one, such as --column {role}={name}.", role=role, name=names[0]),
        )
    missing = [one for one in kind.ways[-1] if one not in (given or {})]
    texts = [one.name for one in sample.of_kind("text")] or list(sample.columns) or ["COLUMN"]
    example = " ".join(
        f"--column {one}={one_line(texts[place % len(texts)], 40)}" for place, one in enumerate(missing)
    )
    wanted = " / ".join(" + ".join(way) for way in kind.ways)
    return DataError(
        _("no column is known as {wanted}. {columns}", wanted=wanted, columns=columns_seen(sample)),
        where=sample.where,
        hint=_("Say which it is, such as {example}.", example=example),
    )

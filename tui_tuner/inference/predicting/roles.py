"""Finds the columns of a file that a model reads for a prediction; answers are not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.data.formats.format_advice import describe_columns
from tui_tuner.data.formats.labelled import LABELLED_PAIRS, PAIRS
from tui_tuner.data.formats.parts.chat_turns import find_chat_shape
from tui_tuner.data.formats.parts.columns import (
    LABEL_NAMES,
    NAMES,
    Column,
    ColumnSample,
    normalise_column_name,
)
from tui_tuner.data.formats.token_tags import TOKEN_NAMES
from tui_tuner.data.formats.transcript import is_transcript
from tui_tuner.errors import DataError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import join_first_names, one_line

SHOWN = 12
RESPONSE = "response"  # the role of a column whose texts answers are compared with
_CHAT_NAMES = (*NAMES["messages"], "data")
_ALIASES = {
    "target": RESPONSE,
    "instruction": "prompt",
    "conversations": "messages",
    "sentence1": "text",
    "sentence2": "pair",
}
_CONTEXTS = ("context", "text", "passage", "document", "article", "paragraph", "body", "content")
_QUESTIONS = ("question", "query", "prompt", "questions")
# Columns with complete chats, used if a file has no other chats
_ANSWERED = ("chosen", "rejected")
# Columns with answers, classes and tags, which are not inputs
_TARGETS = (*NAMES["response"], "target", "summary", "highlights", "translation")
_ANSWERS = {
    *NAMES["response"],
    *LABEL_NAMES,
    *("labels", "tags", "ner_tags", "answers", "target", "id", "summary"),
}


@dataclass(frozen=True)
class RoleSet:
    """The roles that a task reads from a row.

    Args:
        ways: Alternative sets of required roles, in the order in which they are tried.
        more: Optional roles.
    """

    ways: tuple[tuple[str, ...], ...]
    more: tuple[str, ...] = ()

    @property
    def all_roles(self) -> list[str]:
        """List all roles, required and optional."""
        return list(dict.fromkeys([role for way in self.ways for role in way] + list(self.more)))


_WRITES = RoleSet((("messages",), ("prompt",), ("text",)), ("input", "system", "history", "tools", RESPONSE))
_ABOUT_TEXT = RoleSet((("text",),))
_KINDS = {
    "text": RoleSet((("text",),), ("pair",)),
    "token": RoleSet((("tokens",), ("text",))),
    "span": RoleSet((("question", "context"),)),
}


@dataclass(frozen=True)
class Roles:
    """The column of each role."""

    columns: dict[str, str]


def find_input_roles(kind: TaskKind, text_alone: bool = False) -> RoleSet:
    """Return the roles that a task reads; only a text if a built-in prompt asks."""
    if not kind.writes:
        return _KINDS.get(kind.decides, _ABOUT_TEXT)
    return _ABOUT_TEXT if text_alone else _WRITES


def find_roles(
    kind: RoleSet,
    rows: Sequence[dict[str, Any]],
    told: Mapping[str, str],
    trained: Mapping[str, str],
    where: str,
) -> Roles:
    """Find the columns of a file: as the user named them, as in training, or by their names.

    Args:
        rows: The first readable rows.
        told: Role -> column, from `--column`.
        trained: The same from the config of the model's run.

    Raises:
        UsageError: an unknown role or column was named.
        DataError: the columns are ambiguous.
    """
    sample = ColumnSample(rows, where)
    if told:
        return Roles(_take_named_columns(kind, sample, told))
    # A model expects the columns it was trained on; names are a guess for other files
    columns = _take_trained_columns(kind, sample, trained) or _find_by_names(kind, sample)
    if columns is None:
        raise _ask_for_column(kind, sample, [])
    return Roles(columns)


def _take_named_columns(kind: RoleSet, sample: ColumnSample, told: Mapping[str, str]) -> dict[str, str]:
    found = {_ALIASES.get(role, role): name for role, name in told.items()}
    for role, name in found.items():
        if role not in kind.all_roles:
            raise UsageError(
                _("this model does not read {role!r}.", role=one_line(role, 40)),
                where="--column",
                hint=_("It reads {roles}: such as --column {example}.", roles=", ".join(kind.all_roles),
                       example=f"{kind.all_roles[0]}={one_line(name, 40)}"),
            )  # fmt: skip
        if name not in sample.columns:
            raise UsageError(
                _(
                    "{where} has no column {name!r}. {columns}",
                    where=sample.where,
                    name=one_line(name, 60),
                    columns=describe_columns(sample),
                ),
                where="--column",
            )
    if any(set(way) <= set(found) for way in kind.ways):
        return found
    rest = _find_by_names(
        kind, sample, {**found}
    )  # `--column context=passage` alone: find the question by its name
    if rest is None or not all(rest.get(role) == name for role, name in found.items()):
        raise _ask_for_column(kind, sample, [], found)
    return rest


def _take_trained_columns(
    kind: RoleSet, sample: ColumnSample, trained: Mapping[str, str]
) -> dict[str, str] | None:
    """Return the columns of the run's config if the file has the required ones."""
    known = {_ALIASES.get(role, role): name for role, name in trained.items()}
    here = {role: name for role, name in known.items() if role in kind.all_roles and name in sample.columns}
    return here if any(set(way) <= set(here) for way in kind.ways) else None


def _find_by_names(
    kind: RoleSet, sample: ColumnSample, given: Mapping[str, str] | None = None
) -> dict[str, str] | None:
    given = given or {}
    for way in kind.ways:
        found = dict(given)
        for role in way:
            column = given.get(role) or _FINDERS[role](kind, sample, set(found.values()))
            if column is None:
                break
            found[role] = column
        else:
            return {**found, **_find_optional_roles(kind, sample, found)}
    return None


def _find_optional_roles(kind: RoleSet, sample: ColumnSample, found: Mapping[str, str]) -> dict[str, str]:
    """Find the columns of optional roles."""
    taken = list(found.values())
    if "pair" in kind.more and "pair" not in found:
        pair = _find_pair(sample, found["text"])
        return {"pair": pair} if pair else {}
    wanted = [role for role in kind.more if role not in (*found, RESPONSE)]
    if "messages" in found:
        wanted = [role for role in wanted if role in ("system", "tools")]
    elif "prompt" not in found:
        wanted = [role for role in wanted if role in ("system", "tools", "history")]
    optional = sample.find_optional(*wanted, taken=taken)
    # A chat ends with its answer, which is in no column of its own
    if RESPONSE in kind.more and RESPONSE not in found and "messages" not in found:
        optional |= _find_target(sample, [*taken, *optional.values()])
    return optional


# ---- finders of one role: its column or None
# -------------------------------------------------------------------


def _find_messages(kind: RoleSet, sample: ColumnSample, taken: set[str]) -> str | None:
    turns = [one for one in sample.columns.values() if one.filled and _holds_turns(one)]
    rounds = [one for one in sample.find_named(_CHAT_NAMES) if find_chat_shape(one.example)]
    free = [one for one in turns or rounds if one.normalised_name not in (*_ANSWERED, "history")]
    prompts = [
        one
        for one in free
        if one.normalised_name in NAMES["prompt"] and one not in sample.find_named("messages")
    ]
    known = [one for one in free if one in sample.find_named("messages")] or [
        one for one in free if one not in prompts and one.normalised_name not in _ANSWERS
    ]
    # Guessing between two chats would silently predict the wrong one
    if len(known) > 1:
        raise _ask_for_column(kind, sample, known, role="messages")
    if known:
        return known[0].name
    # A file of preferences: its prompt is the question, and `chosen` would include an answer
    if prompts or sample.find_named("prompt"):
        return None
    answered = [one for one in turns if one.normalised_name in _ANSWERED]
    return answered[0].name if answered else None


def _holds_turns(column: Column) -> bool:
    return find_chat_shape(column.example) in ("from_value", "role_content", "rounds") or (
        column.is_mostly("text") and is_transcript(column.example)
    )


def _find_prompt(kind: RoleSet, sample: ColumnSample, taken: set[str]) -> str | None:
    found = [
        one
        for one in sample.find_named("prompt")
        if one.name not in taken and (one.is_worded or find_chat_shape(one.example))
    ]
    more = [one for one in found if one.normalised_name != "input"]
    found = more or found
    if len(found) > 1:
        best = [one for one in found if one.normalised_name in ("prompt", "instruction")]
        if len(best) != 1:
            raise _ask_for_column(kind, sample, found, role="prompt")
        found = best
    return found[0].name if found else None


def _find_text(kind: RoleSet, sample: ColumnSample, taken: set[str]) -> str | None:
    texts = [one for one in sample.find_by_kind("text") if one.name not in taken]
    named = [one for one in sample.find_named("text") if one.name not in taken and one.is_worded]
    # Known pairs of names (premise and hypothesis, ...) come first: either name alone could be a text
    if "pair" in kind.more:
        for first, second in (*PAIRS, *LABELLED_PAIRS):
            one, two = sample.get_filled(first), sample.get_filled(second)
            if one and two and one in texts and two in texts:
                return one.name
    if named and (len(named) == 1 or named[0].normalised_name == "text"):
        return named[0].name
    if named:
        raise _ask_for_column(kind, sample, named, role="text")
    likely = [one for one in texts if one.normalised_name not in _ANSWERS] or (
        texts if len(texts) == 1 else []
    )
    if len(likely) == 1:
        return likely[0].name
    asked = [one for one in sample.find_named("prompt", "text") if one.name not in taken]
    if len(asked) == 1 and ("messages",) not in kind.ways:
        return asked[0].name
    if len(likely) > 1:
        raise _ask_for_column(kind, sample, likely, role="text")
    return None


def _find_target(sample: ColumnSample, taken: Sequence[str]) -> dict[str, str]:
    """Find the column with the texts that answers are compared with."""
    named = [one for one in sample.find_named(_TARGETS) if one.is_written and one.name not in taken]
    return {RESPONSE: named[0].name} if named else {}


def _find_pair(sample: ColumnSample, text: str) -> str | None:
    """Find the second text of a pair by the names of both columns."""
    plain = normalise_column_name(text)
    for first, second in (*PAIRS, *LABELLED_PAIRS):
        other = sample.get_filled(second)
        if plain == first and other and other.is_mostly("text"):
            return other.name
    return None


def _find_tokens(kind: RoleSet, sample: ColumnSample, taken: set[str]) -> str | None:
    lists = [one for one in sample.columns.values() if one.is_mostly("texts") or _holds_written_list(one)]
    named = [one for one in lists if one.normalised_name in TOKEN_NAMES]
    found = named or (
        []
        if sample.find_named("text", "text")
        else [one for one in lists if one.normalised_name not in _ANSWERS]
    )
    if len(found) > 1 and not named:
        raise _ask_for_column(kind, sample, found, role="tokens")
    return found[0].name if found else None


def _holds_written_list(column: Column) -> bool:
    from tui_tuner.data.formats.parts.columns import find_value_kind, parse_if_json

    return column.is_mostly("text") and find_value_kind(parse_if_json(column.example)) == "texts"


def _find_question(kind: RoleSet, sample: ColumnSample, taken: set[str]) -> str | None:
    found = [one for one in sample.find_named(_QUESTIONS, "text") if one.name not in taken]
    return found[0].name if found else None


def _find_context(kind: RoleSet, sample: ColumnSample, taken: set[str]) -> str | None:
    found = [one for one in sample.find_named(_CONTEXTS, "text") if one.name not in taken]
    return found[0].name if found else None


_FINDERS = {
    "messages": _find_messages,
    "prompt": _find_prompt,
    "text": _find_text,
    "tokens": _find_tokens,
    "question": _find_question,
    "context": _find_context,
}


def _ask_for_column(
    kind: RoleSet,
    sample: ColumnSample,
    candidates: Sequence[Column],
    given: Mapping[str, str] | None = None,
    role: str = "",
) -> DataError:
    """Return an error that asks the user to name the column."""
    if candidates:
        names = join_first_names([one.name for one in candidates], SHOWN)
        return DataError(
            _("several columns could be the {role}: {names}.", role=role, names=", ".join(names)),
            where=sample.where,
            hint=_("Name the right one, such as --column {role}={name}.", role=role, name=names[0]),
        )
    missing = [one for one in kind.ways[-1] if one not in (given or {})]
    texts = [one.name for one in sample.find_by_kind("text")] or list(sample.columns) or ["COLUMN"]
    example = " ".join(
        f"--column {one}={one_line(texts[place % len(texts)], 40)}" for place, one in enumerate(missing)
    )
    wanted = " / ".join(" + ".join(way) for way in kind.ways)
    return DataError(
        _("no column was recognised as {wanted}. {columns}", wanted=wanted, columns=describe_columns(sample)),
        where=sample.where,
        hint=_("Name it, such as {example}.", example=example),
    )

"""Which record format rows are in: recognised from names and values, with how sure it is and why.

Columns that look alike are asked about, never guessed: `recognise` raises `DataError` with the candidates and
the `--set` that settles it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.data.formats.columns import (
    NAMES,
    PAIRS,
    PROMPT_PAIRS,
    Column,
    Sample,
    loads_if_json,
    plain_name,
)
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import listed, one_line


@dataclass
class Detection:
    """A format, the column for each role, how sure it is (0 to 1), and why."""

    format: str
    columns: dict[str, str]
    confidence: float
    why: str
    unused: list[str] = field(default_factory=list)
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# The roles that the user may name in data.columns, and those a format cannot do without.
ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "alpaca": (("prompt", "response"), ("input", "system", "history")),
    "prompt_response": (("prompt", "response"), ("input", "system", "history", "tools")),
    "chatglm": (("prompt", "response", "history"), ("system",)),
    "sharegpt": (("messages",), ("system", "tools")),
    "messages": (("messages",), ("system", "tools")),
    "preference": (("chosen", "rejected"), ("prompt", "input", "messages", "system", "tools")),
    "kto": (("good",), ("prompt", "input", "response", "messages", "system", "tools")),
    "text": (("text",), ()),
    "text_label": (("text", "label"), ()),
    "sentence_pair": (("text", "pair"), ("label",)),
    "token_tags": (("tokens", "tags"), ()),
    "qa": (("question", "context", "answers"), ()),
}
_ALIASES = {
    "instruction": "prompt",
    "output": "response",
    "completion": "response",
    "conversations": "messages",
}


class Ambiguous(DataError):
    """Columns that look alike: the user has to say which is which."""


def recognise(
    rows: Sequence[dict[str, Any]],
    wanted: str = "auto",
    columns: dict[str, str] | None = None,
    where: str = "",
) -> Detection:
    """The format of these rows. `wanted` and `columns` are `data.format` and `data.columns`.

    Raises:
        Ambiguous: columns look alike.
        DataError: nothing fits, or the format asked for does not.
    """
    sample = Sample(rows)
    if columns:
        return _as_told(sample, wanted, columns, where)
    best = None
    for rule, formats in _RULES:
        if wanted == "auto" or wanted in formats:
            best = rule(sample, where, wanted)
            if best and wanted in ("auto", best.format):
                break
            best = None
    if best is None and wanted != "auto":
        raise DataError(
            _(
                "the rows do not look like {format} ({words}). {columns}",
                format=wanted,
                words=_(RECORD_FORMATS[wanted]),
                columns=_seen(sample),
            ),
            where=where,
            hint=_hint(wanted),
        )
    if best is None:
        raise DataError(
            _("the record format is not recognised. {columns}", columns=_seen(sample)),
            where=where,
            hint=_("Say which column is what, such as --set 'data.columns={prompt: A, response: B}'."),
        )
    best.unused = [name for name in sample.columns if name not in best.columns.values()]
    best.chosen = wanted != "auto"
    return best


def _seen(sample: Sample) -> str:
    names = [f"{one_line(c.name, 40)} ({', '.join(c.kinds) or _('empty')})" for c in sample.columns.values()]
    if not names:
        return _("Columns: none.")
    return _("Columns: {names}.", names=", ".join([*names[:12], *(["…"] if len(names) > 12 else [])]))


def _hint(format: str) -> str:
    roles = ", ".join(f"{role}: COLUMN" for role in ROLES[format][0])
    return _("Name the columns with --set 'data.columns={{{roles}}}'.", roles=roles)


def _ask(role: str, candidates: Sequence[str], others: dict[str, str], where: str) -> Ambiguous:
    names = [one_line(name, 40) for name in candidates]
    given = ", ".join(f"{key}: {value}" for key, value in {**others, role: names[0]}.items())
    return Ambiguous(
        _("several columns could be the {role}: {names}.", role=role, names=", ".join(names)),
        where=where,
        hint=_("Say which one, such as --set 'data.columns={{{given}}}'.", given=given),
    )


def _as_told(sample: Sample, wanted: str, columns: dict[str, str], where: str) -> Detection:
    """What the user said, checked against the rows."""
    told = {_ALIASES.get(role, role): name for role, name in columns.items()}
    known = {role for needed, more in ROLES.values() for role in needed + more}
    for role, name in told.items():
        if role not in known:
            raise DataError(
                _(
                    "unknown role {role!r}; known are {known}.",
                    role=one_line(role),
                    known=", ".join(sorted(known)),
                ),
                where="data.columns",
            )
        if name not in sample.columns:
            raise DataError(
                _("no column {name!r}. {columns}", name=one_line(name), columns=_seen(sample)),
                where=where or "data.columns",
            )
    format = wanted if wanted != "auto" else _format_of(told, sample, where)
    needed, more = ROLES[format]
    missing = [role for role in needed if role not in told]
    if missing:
        raise DataError(
            _("{format} also needs: {roles}.", format=format, roles=", ".join(missing)),
            where="data.columns",
            hint=_hint(format),
        )
    stray = [role for role in told if role not in needed + more]
    if stray:
        raise DataError(
            _("{format} has no {roles}.", format=format, roles=", ".join(stray)),
            where="data.columns",
            hint=_hint(format),
        )
    unused = [name for name in sample.columns if name not in told.values()]
    return Detection(format, told, 1.0, _("as told in data.columns"), unused, chosen=True)


def _format_of(told: dict[str, str], sample: Sample, where: str) -> str:
    if "messages" in told and not {"chosen", "good"} & set(told):
        return "sharegpt" if _turn_keys(sample.columns[told["messages"]]) == ("from", "value") else "messages"
    for format in ("preference", "kto", "qa", "token_tags", "sentence_pair", "text_label", "chatglm"):
        if set(ROLES[format][0]) <= set(told):
            return format
    if {"prompt", "response"} <= set(told):
        return "prompt_response"
    if set(told) == {"text"}:
        return "text"
    raise DataError(
        _("these roles make no record format: {roles}.", roles=", ".join(told)),
        where=where or "data.columns",
        hint=_("Give prompt and response, messages, text, or text and label."),
    )


# Roles that rows may have or lack, so the first rows of a file may not show them.
_SELDOM = ("input", "system", "history", "tools")


def _optional(sample: Sample, *roles: str, taken: Sequence[str] = ()) -> dict[str, str]:
    found = {}
    for role in roles:
        candidates = [column for column in sample.named(role) if column.name not in taken]
        if not candidates and role in _SELDOM:  # empty in the sample, perhaps not in the rows after it
            columns = (sample.empty(name) for name in NAMES[role])
            candidates = [column for column in columns if column and column.name not in taken]
        if candidates:
            found[role] = candidates[0].name
    return found


def take_late(detection: Detection, names: Sequence[str]) -> list[str]:
    """Take in columns that rows after the sample have, in place; what became of each, in words."""
    said = []
    for name in names:
        plain = plain_name(name)
        roles = [
            role
            for role in ROLES[detection.format][1]
            if role in _SELDOM and role not in detection.columns and plain in NAMES[role]
        ]
        if roles and not detection.chosen:
            detection.columns[roles[0]] = name
            said.append(_("column {name} is the {role}", name=one_line(name, 40), role=roles[0]))
        else:
            detection.unused.append(name)
            said.append(_("column {name} is not used", name=one_line(name, 40)))
    return said


def _turn_keys(column: Column) -> tuple[str, str] | None:
    """The keys of role and content in a column of turns, or None if it holds none."""
    example = loads_if_json(column.example)
    if not isinstance(example, list) or not example or not isinstance(example[0], dict):
        return None
    keys = set(example[0])
    if {"from", "value"} <= keys:
        return "from", "value"
    if "role" in keys and keys & {"content", "tool_calls", "value", "text"}:
        return "role", "content"
    return None


def _chats(sample: Sample, where: str, wanted: str) -> Detection | None:
    columns = [c for c in sample.columns.values() if c.filled and _turn_keys(c)]
    columns = [c for c in columns if c.plain not in ("chosen", "rejected", "history")]
    if not columns:
        return None
    known = [column for column in columns if column in sample.named("messages")]
    best = known or columns
    if len(best) > 1:
        raise _ask("messages", [column.name for column in best], {}, where)
    keys = _turn_keys(best[0])
    format = "sharegpt" if keys == ("from", "value") else "messages"
    roles = {"messages": best[0].name, **_optional(sample, "system", "tools")}
    why = (
        _(
            "{name} is a list of turns with {role} and {content}",
            name=one_line(best[0].name, 40),
            role=keys[0],
            content=keys[1],
        )
        if keys
        else ""
    )
    return Detection(format, roles, 0.99 if known else 0.9, why)


def _preference(sample: Sample, where: str, wanted: str) -> Detection | None:
    chosen, rejected = sample.named("chosen"), sample.named("rejected")
    if not chosen or not rejected:
        return None
    if len(chosen) > 1:
        raise _ask("chosen", [column.name for column in chosen], {}, where)
    if len(rejected) > 1:
        raise _ask("rejected", [column.name for column in rejected], {}, where)
    roles = {"chosen": chosen[0].name, "rejected": rejected[0].name}
    roles |= _optional(sample, "system", "tools")
    turns = [column for column in sample.named("messages") if _turn_keys(column)]
    prompts = sample.named("prompt", "text", "objects")
    if turns:
        roles["messages"] = turns[0].name
    elif prompts:
        roles["prompt"] = prompts[0].name
        roles |= _optional(sample, "input", taken=[prompts[0].name])
    return Detection("preference", roles, 0.98, _("a chosen and a rejected answer in each row"))


def _kto(sample: Sample, where: str, wanted: str) -> Detection | None:
    good = [column for column in sample.named("good") if column.mostly("bool")]
    if not good:
        return None
    roles = {"good": good[0].name, **_optional(sample, "system", "tools")}
    turns = [column for column in sample.named("messages") if _turn_keys(column)]
    prompts, answers = sample.named("prompt", "text", "objects"), sample.named("response", "text", "objects")
    if turns:
        roles["messages"] = turns[0].name
    elif len(prompts) == 1 and len(answers) == 1:
        roles |= {"prompt": prompts[0].name, "response": answers[0].name}
    else:
        return None
    return Detection(
        "kto", roles, 0.995, _("{name} says whether the answer is good", name=one_line(good[0].name, 40))
    )


def _chatglm(sample: Sample, where: str, wanted: str) -> Detection | None:
    history = sample.named("history", "lists", "list")
    prompts, answers = sample.named("prompt", "text"), sample.named("response", "text")
    if (not history and wanted != "chatglm") or len(prompts) != 1 or len(answers) != 1:
        return None
    named = history or [c for c in sample.columns.values() if c.plain == "history"]
    if not named:
        return None
    roles = {"prompt": prompts[0].name, "response": answers[0].name, "history": named[0].name}
    return Detection("chatglm", roles | _optional(sample, "system"), 0.97, _("prompt, response and history"))


def _alpaca(sample: Sample, where: str, wanted: str) -> Detection | None:
    instruction, output = sample.get("instruction"), sample.get("output")
    if not instruction or not output:
        return None
    if wanted != "alpaca" and not (instruction.mostly("text") and output.mostly("text")):
        return None
    rivals = [c for c in sample.named("prompt", "text") if c.plain not in ("instruction", "input")]
    rivals_out = [c for c in sample.named("response", "text") if c.plain != "output"]
    if rivals:
        raise _ask("prompt", ["instruction", *(c.name for c in rivals)], {"response": output.name}, where)
    if rivals_out:
        names = [output.name, *(c.name for c in rivals_out)]
        raise _ask("response", names, {"prompt": instruction.name}, where)
    roles = {"prompt": instruction.name, "response": output.name}
    roles |= _optional(sample, "input", "system", "history")
    return Detection("alpaca", roles, 0.99, _("instruction and output"))


def _prompt_response(sample: Sample, where: str, wanted: str) -> Detection | None:
    if sample.get("instruction") and sample.get("output"):
        return None
    prompts, answers = sample.named("prompt", "text"), sample.named("response", "text")
    if not prompts or not answers:
        return _known_pair(sample)
    # An input beside an instruction (or another prompt) adds to it, as in alpaca.
    if len(prompts) > 1:
        prompts = [column for column in prompts if column.plain != "input"]
    if len(prompts) > 1:
        names = [column.name for column in prompts]
        raise _ask("prompt", names, {"response": answers[0].name} if len(answers) == 1 else {}, where)
    if len(answers) > 1:
        raise _ask("response", [c.name for c in answers], {"prompt": prompts[0].name}, where)
    roles = {"prompt": prompts[0].name, "response": answers[0].name}
    if wanted == "auto" and _looks_like_class(answers[0], len(sample.rows)):
        return None
    roles |= _optional(sample, "input", "system", "history", "tools", taken=list(roles.values()))
    why = _(
        "{prompt} asks and {answer} answers",
        prompt=one_line(prompts[0].name, 40),
        answer=one_line(answers[0].name, 40),
    )
    return Detection("prompt_response", roles, 0.95, why)


def _known_pair(sample: Sample) -> Detection | None:
    for first, second in PROMPT_PAIRS:
        one, two = sample.get(first), sample.get(second)
        if one and two and one.mostly("text") and two.mostly("text"):
            roles = {"prompt": one.name, "response": two.name, **_optional(sample, "system")}
            return Detection(
                "prompt_response",
                roles,
                0.95,
                _("{prompt} asks and {answer} answers", prompt=first, answer=second),
            )
    return None


def _looks_like_class(column: Column, rows: int) -> bool:
    """Few short values that come again and again are classes, not answers."""
    return (
        rows >= 20 and len(column.values) <= max(2, rows // 10) and column.mean_length < 30
    ) and column.plain in ("target", "answer", "output")


def _qa(sample: Sample, where: str, wanted: str) -> Detection | None:
    question, context = sample.get("question"), sample.get("context")
    answers = sample.get("answers") or sample.get("answer")
    if not question or not context or not answers:
        return None
    if not answers.mostly("object", "objects") and wanted != "qa":
        return None
    roles = {"question": question.name, "context": context.name, "answers": answers.name}
    return Detection("qa", roles, 0.99, _("question, context and answers with their place in it"))


def _token_tags(sample: Sample, where: str, wanted: str) -> Detection | None:
    tokens, tags = sample.named("tokens", "texts"), sample.named("tags", "texts", "numbers")
    if not tokens or not tags:
        return None
    if len(tags) > 1:
        raise _ask("tags", [column.name for column in tags], {"tokens": tokens[0].name}, where)
    return Detection(
        "token_tags", {"tokens": tokens[0].name, "tags": tags[0].name}, 0.98, _("a tag for each token")
    )


def _sentence_pair(sample: Sample, where: str, wanted: str) -> Detection | None:
    for first, second in PAIRS:
        one, two = sample.get(first), sample.get(second)
        if one and two and one.mostly("text") and two.mostly("text"):
            roles = {"text": one.name, "pair": two.name, **_optional(sample, "label")}
            return Detection("sentence_pair", roles, 0.97, listed((first, second)))
    return None


def _text_label(sample: Sample, where: str, wanted: str) -> Detection | None:
    labels = sample.named("label", "text", "number", "bool")
    texts = [column for column in sample.named("text", "text") if column not in labels]
    if not labels or not texts:
        return None
    if len(texts) > 1 and not {"text"} & {column.plain for column in texts}:
        raise _ask("text", [column.name for column in texts], {"label": labels[0].name}, where)
    if len(labels) > 1 and labels[0].plain != "label":
        raise _ask("label", [column.name for column in labels], {"text": texts[0].name}, where)
    why = _(
        "{text} with a class in {label}",
        text=one_line(texts[0].name, 40),
        label=one_line(labels[0].name, 40),
    )
    return Detection("text_label", {"text": texts[0].name, "label": labels[0].name}, 0.93, why)


def _text(sample: Sample, where: str, wanted: str) -> Detection | None:
    named = sample.get("text")
    if named and named.mostly("text"):
        others = sample.of_kind("text")
        return Detection(
            "text", {"text": named.name}, 0.9 if len(others) > 1 else 0.99, _("a column named text")
        )
    texts = sample.of_kind("text")
    if len(texts) == 1 and len(sample.columns) == 1:
        return Detection("text", {"text": texts[0].name}, 0.8, _("the only column holds text"))
    candidates = sample.named("text", "text")
    if len(candidates) == 1:
        return Detection(
            "text",
            {"text": candidates[0].name},
            0.6,
            _("{name} holds text", name=one_line(candidates[0].name, 40)),
        )
    return None


_Rule = Callable[[Sample, str, str], Detection | None]
# From the most particular to the most general: the first that fits is taken.
_RULES: tuple[tuple[_Rule, tuple[str, ...]], ...] = (
    (_preference, ("preference",)),
    (_kto, ("kto",)),
    (_chats, ("messages", "sharegpt")),
    (_chatglm, ("chatglm",)),
    (_alpaca, ("alpaca",)),
    (_qa, ("qa",)),
    (_token_tags, ("token_tags",)),
    (_sentence_pair, ("sentence_pair",)),
    (_prompt_response, ("prompt_response",)),
    (_text_label, ("text_label",)),
    (_text, ("text",)),
)

"""Choose the chat template for a tokenizer: its own, one of this package by name, or a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tui_tuner.config.chat_templates import find_template_name, is_own_template, list_similar_templates
from tui_tuner.config.paths import explain_missing_path
from tui_tuner.data.chat.moment import list_template_texts
from tui_tuner.data.chat.named.write_template import WrittenTemplate, write_template
from tui_tuner.data.chat.template import MOST_LETTERS, adds_bos
from tui_tuner.errors import ModelError
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line

FIELD = "model.chat_template"


def choose_template(tokenizer: Any, wanted: str | None = None) -> str:
    """Make sure that the tokenizer has a chat template; returns a note on it if it is not its own.

    The template is set on the tokenizer itself, so that it is saved with what is trained.

    Args:
        wanted: `model.chat_template`: a name in `config.chat_templates`, the path of a Jinja file, or None or
            `tokenizer_default` for the tokenizer's own. A name wins over a file of the same name.

    Raises:
        ModelError: the file is missing, no template has that name, or no token could end an answer.
    """
    if wanted is not None and not is_own_template(wanted):
        name = find_template_name(wanted)
        if name is None:
            tokenizer.chat_template = read_template(wanted)
            return _("Chat template: {path}.", path=one_line(wanted))
        written = _set_template(tokenizer, name)
        said = _("Chat template: {name}, as asked; answers end with {ending}.", name=name, ending=written.end)
        return " ".join([said, *_list_remarks(written)])
    if getattr(tokenizer, "chat_template", None):
        for text in list_template_texts(tokenizer):
            _check_template_length(text, str(getattr(tokenizer, "name_or_path", "") or "chat_template"))
        return ""
    # ChatML is the format that other programs also fall back to.
    written = _set_template(tokenizer, "chatml")
    return _(
        "This tokenizer has no chat template: ChatML is used, and saved with the model; answers end with "
        "{ending}.",
        ending=written.end,
    )


def _set_template(tokenizer: Any, name: str) -> WrittenTemplate:
    # The template writes BOS itself, since chats are tokenised without special tokens.
    written = write_template(name, tokenizer, str(tokenizer.bos_token) if adds_bos(tokenizer) else "")
    if not written.end:
        raise ModelError(
            _("this tokenizer has no eos token, nor any other that could end an answer."),
            where=FIELD,
            field="model.tokenizer",
            hint=_("Set a tokenizer with an eos token in model.tokenizer."),
        )
    tokenizer.chat_template = written.template
    return written


def _list_remarks(written: WrittenTemplate) -> list[str]:
    """List how a template falls short with this tokenizer."""
    found = []
    if written.wanted_end and written.end != written.wanted_end:
        found.append(
            _(
                "This tokenizer does not have {wanted}, which ends answers in this format; it uses {ending}.",
                wanted=written.wanted_end,
                ending=written.end,
            )
        )
    if written.unknown:
        count = len(written.unknown)
        found.append(
            _n(
                "The tokenizer has no token {tokens}: it is read in pieces, as plain text, which no model of "
                "this format has seen in training.",
                "The tokenizer has no tokens {tokens}: they are read in pieces, as plain text, which no "
                "model of this format has seen in training.",
                count,
                tokens=", ".join(written.unknown),
            )
        )
    return found


def check_template(wanted: str) -> None:
    """Check the value of `model.chat_template` without a tokenizer.

    Raises:
        ModelError: it is neither a name nor a readable file.
    """
    if not is_own_template(wanted) and find_template_name(wanted) is None:
        read_template(wanted)


def read_template(path: str) -> str:
    """Read a Jinja file.

    Raises:
        ModelError: missing, unreadable, or too large for a template.
    """
    file = Path(path).expanduser()
    try:
        # Reading a device or a pipe may never end.
        if os.path.exists(file) and not file.is_file():
            raise ModelError(_("is not a regular file."), where=one_line(path), field=FIELD)
        if file.stat().st_size > 4 * MOST_LETTERS:
            raise ModelError(
                _("is larger than 1 MiB, too large for a template."), where=one_line(path), field=FIELD
            )
        return _check_template_length(file.read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        # A bare word without a suffix is a mistyped name rather than a missing file.
        if isinstance(error, FileNotFoundError) and file.name == path and not file.suffix[1:].isalpha():
            raise _unknown_template_error(path) from None
        if isinstance(error, OSError):
            what = _("is not a readable chat template: {problem}.", problem=error.strerror)
        else:
            what = _("is not a readable chat template: it is not UTF-8 text.")
        takes = _("model.chat_template takes a name, such as `llama3`, or the path of a Jinja file.")
        # Where a relative path was looked for helps only if nothing is there.
        looked = "" if os.path.exists(file) else explain_missing_path(path)
        raise ModelError(what, where=one_line(path), hint=f"{looked} {takes}".strip(), field=FIELD) from None


def _check_template_length(text: str, where: str) -> str:
    """Return a template, unless it is so long that compiling it would take seconds."""
    if len(text) > MOST_LETTERS:
        raise ModelError(
            _(
                "the chat template has {count:,} characters; the limit is {most:,}.",
                count=len(text),
                most=MOST_LETTERS,
            ),
            where=one_line(where),
            hint=_("Set a shorter one in model.chat_template."),
            field=FIELD,
        )
    return text


def _unknown_template_error(wanted: str) -> ModelError:
    near = list_similar_templates(wanted)
    if near:
        hint = _(
            "Similar names are {names}; `tui-tuner data templates` lists all. For a Jinja file, give its "
            "path.",
            names=", ".join(near),
        )
    else:
        hint = _("`tui-tuner data templates` lists the names. For a Jinja file, give its path.")
    return ModelError(
        _("no chat template and no file has this name."),
        where=one_line(wanted),
        hint=hint,
        field=FIELD,
    )

"""Which chat template a tokenizer gets: its own, one of this package's by name, or a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tui_tuner.config.chat_templates import is_own, near_names, template_name
from tui_tuner.config.paths import where_looked
from tui_tuner.data.chat.moment import template_texts
from tui_tuner.data.chat.named.written import Written, write
from tui_tuner.data.chat.template import MOST_LETTERS, adds_bos
from tui_tuner.errors import ModelError
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line

FIELD = "model.chat_template"


def choose_template(tokenizer: Any, wanted: str | None = None) -> str:
    """Make sure the tokenizer has a chat template, and say which in a few sentences, if it is not its own.

    The template is set on the tokenizer itself, so that it is saved with what is trained.

    Args:
        wanted: `model.chat_template`: a name in `config.chat_templates`, the path of a Jinja file, or None or
            `tokenizer_default` for the tokenizer's own. A name wins over a file of the same name.

    Raises:
        ModelError: the file is missing, no template has that name, or there is no token an answer could end
            with.
    """
    if wanted is not None and not is_own(wanted):
        name = template_name(wanted)
        if name is None:
            tokenizer.chat_template = read_template(wanted)
            return _("Chat template: {path}.", path=one_line(wanted))
        written = _set(tokenizer, name)
        said = _("Chat template: {name}, as asked; answers end with {ending}.", name=name, ending=written.end)
        return " ".join([said, *_remarks(written)])
    if getattr(tokenizer, "chat_template", None):
        for text in template_texts(tokenizer):
            _of_length(text, str(getattr(tokenizer, "name_or_path", "") or "chat_template"))
        return ""
    written = _set(tokenizer, "chatml")
    return _(
        "This tokenizer has no chat template: ChatML is used, and saved with the model; answers end with "
        "{ending}.",
        ending=written.end,
    )


def _set(tokenizer: Any, name: str) -> Written:
    written = write(name, tokenizer, str(tokenizer.bos_token) if adds_bos(tokenizer) else "")
    if not written.end:
        raise ModelError(
            _("this tokenizer has no eos token, and nothing else an answer could end with."),
            where=FIELD,
            field="model.tokenizer",
            hint=_("Give a tokenizer with an eos token in model.tokenizer."),
        )
    tokenizer.chat_template = written.template
    return written


def _remarks(written: Written) -> list[str]:
    """What a template cannot be for this tokenizer."""
    found = []
    if written.wanted_end and written.end != written.wanted_end:
        found.append(
            _(
                "This tokenizer does not know {wanted}, which ends answers elsewhere, so its {ending} does.",
                wanted=written.wanted_end,
                ending=written.end,
            )
        )
    if written.unknown:
        count = len(written.unknown)
        found.append(
            _n(
                "The tokenizer has no token {tokens}: it is read in pieces, as plain text, which a model of "
                "this format was never shown.",
                "The tokenizer has no tokens {tokens}: they are read in pieces, as plain text, which a model "
                "of this format was never shown.",
                count,
                tokens=", ".join(written.unknown),
            )
        )
    return found


def check_template(wanted: str) -> None:
    """Look for what `model.chat_template` asks for, without a tokenizer.

    Raises:
        ModelError: it is no name, and no readable file.
    """
    if not is_own(wanted) and template_name(wanted) is None:
        read_template(wanted)


def read_template(path: str) -> str:
    """The text of a Jinja file.

    Raises:
        ModelError: missing, unreadable, or too large to be one.
    """
    file = Path(path).expanduser()
    try:
        if os.path.exists(file) and not file.is_file():  # a device or a pipe may never end
            raise ModelError(_("is no regular file."), where=one_line(path), field=FIELD)
        if file.stat().st_size > 4 * MOST_LETTERS:
            raise ModelError(
                _("is larger than 1 MiB, so it is no template."), where=one_line(path), field=FIELD
            )
        return _of_length(file.read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) and file.name == path and not file.suffix[1:].isalpha():
            raise _unknown(path) from None
        if isinstance(error, OSError):
            what = _("no readable chat template: {problem}.", problem=error.strerror)
        else:
            what = _("no readable chat template: it is not UTF-8 text.")
        takes = _("model.chat_template takes a name, such as `llama3`, or the path of a Jinja file.")
        looked = "" if os.path.exists(file) else where_looked(path)
        raise ModelError(what, where=one_line(path), hint=f"{looked} {takes}".strip(), field=FIELD) from None


def _of_length(text: str, where: str) -> str:
    """A template that is not so long that to compile it alone would take seconds."""
    if len(text) > MOST_LETTERS:
        raise ModelError(
            _(
                "a chat template of {count:,} characters; {most:,} are taken.",
                count=len(text),
                most=MOST_LETTERS,
            ),
            where=one_line(where),
            hint=_("Give a shorter one in model.chat_template."),
            field=FIELD,
        )
    return text


def _unknown(wanted: str) -> ModelError:
    """Neither a name nor a file."""
    near = near_names(wanted)
    if near:
        hint = _(
            "Near names are {names}; `tui-tuner data templates` lists all. A Jinja file is given by its "
            "path.",
            names=", ".join(near),
        )
    else:
        hint = _("`tui-tuner data templates` lists the names. A Jinja file is given by its path.")
    return ModelError(
        _("no chat template has this name, and no file either."),
        where=one_line(wanted),
        hint=hint,
        field=FIELD,
    )

"""Chat templates in Go's template language, as Ollama renders them."""

from __future__ import annotations

from dataclasses import replace

from tui_tuner.exporting.ollama.chat_parts import ChatParts

PLAIN = "{{ .Prompt }}"  # for models without a chat template: the text as it is
_SYSTEM = "{{ $.System }}"
_CONTENT = "{{ .Content }}"


def write_go_template(parts: ChatParts, begin: str = "") -> str:
    """Write a chat template for Ollama.

    Args:
        begin: The token that llama.cpp itself puts before a prompt; it is left out of the template.
    """
    if begin:
        parts = replace(
            parts,
            start=parts.start.removeprefix(begin),
            before_system=parts.before_system.removeprefix(begin)
            if parts.system == "own"
            else parts.before_system,
        )
    inside = _quote(parts.before_system) + _SYSTEM + _quote(parts.after_system)
    start = _quote(parts.start)
    if parts.system == "own":
        # without a system message a chat may begin with one of the template's own
        start = f"{{{{ if $.System }}}}{inside}{{{{ else }}}}{start}{{{{ end }}}}"
    merged = ""
    if parts.system == "first":
        # the system message itself is number 0
        merged = f"{{{{ if and $.System (eq $i 1) }}}}{inside}{{{{ end }}}}"
    elif parts.system == "last":
        merged = f"{{{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}}}{inside}{{{{ end }}}}"
    question = _write_before_user(parts, begin) + merged + _CONTENT + _quote(parts.after_user)
    answer = _quote(parts.before_answer) + _CONTENT + _quote(parts.after_answer)
    turns = (
        '{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}'
        + question
        + '{{ else if eq .Role "assistant" }}'
        + answer
        + "{{ end }}{{ end }}"
    )
    return start + turns + _quote(parts.ending)


def _write_before_user(parts: ChatParts, begin: str) -> str:
    repeated = begin and not parts.start and parts.system != "own" and parts.before_user.startswith(begin)
    if not repeated:
        return _quote(parts.before_user)
    # the first question is number 0, or 1 after a system message
    again = f"{{{{ if gt $i 1 }}}}{_quote(begin)}{{{{ end }}}}"
    return again + _quote(parts.before_user.removeprefix(begin))


def _quote(text: str) -> str:
    """Return text that Go's templates leave as it is."""
    return text.replace("{{", '{{ "{{" }}')

"""Write a named chat template for one tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from tui_tuner.data.chat.named.plain import PLAIN
from tui_tuner.data.chat.named.sides import SideFormat, TemplateTokens, quote_jinja, write_sides

_CHATML = ("<|im_start|>", "<|im_end|>")
_MISTRAL = ("[INST]", "[/INST]")
_DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>")


@dataclass(frozen=True)
class FileFormat:
    """A format that is too complex for texts around turns: a Jinja file next to this module.

    Args:
        file: Its name without the suffix. It reads `bos`, `end` and what `settings` adds.
        settings: More variables; a tuple is the first of these tokens that the tokenizer knows, else its end.
        ends: Tokens that may end an answer, best first; none means eos.
        tokens: Tokens that the format needs.
        front: Tokens at the start, as `start`; those that the tokenizer does not have are left out.
    """

    file: str
    settings: dict[str, Any] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    front: tuple[str, ...] = ()


def _make_qwen(preamble: str | None, thinks: bool) -> FileFormat:
    settings = {"preamble": preamble, "thinks": thinks}
    return FileFormat("qwen", settings, ("<|im_end|>",), _CHATML)


def _make_qwen35(opening: str, json: bool = False) -> FileFormat:
    """Make a Qwen 3.5 format.

    `opening` is the start of an answer; with `json`, true and null are written as in JSON, not as in Python.
    """
    return FileFormat("qwen35", {"opening": opening, "json": json}, ("<|im_end|>",), _CHATML)


def _make_glm(file: str) -> FileFormat:
    roles = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
    front = ("[gMASK]", "<sop>")
    return FileFormat(file, {"called": ("<|observation|>",)}, ("<|user|>",), (*front, *roles), front)


FILED: dict[str, FileFormat] = {
    "chatml": FileFormat("chatml", ends=("<|im_end|>",)),
    "qwen2.5": _make_qwen("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", False),
    "qwen3": _make_qwen(None, True),
    "qwen3_instruct": _make_qwen(None, False),
    "qwen3.5": _make_qwen35("<think>\n"),
    "qwen3.5_nothink": _make_qwen35("<think>\n\n</think>\n\n"),
    "qwen3.6": _make_qwen35("<think>\n", json=True),
    "llama3.1": FileFormat(
        "llama31", ends=("<|eot_id|>",), tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    ),
    "mistral_v3": FileFormat("mistral", {"gap": " ", "marked": False}, tokens=_MISTRAL),
    "mistral_tekken": FileFormat("mistral", {"gap": "", "marked": False}, tokens=_MISTRAL),
    "mistral_small": FileFormat(
        "mistral",
        {"gap": "", "marked": True},
        tokens=(*_MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    ),
    "deepseek_v3": FileFormat("deepseek", {"thinks": False}, tokens=_DEEPSEEK),
    "deepseek_r1": FileFormat("deepseek", {"thinks": True}, tokens=_DEEPSEEK),
    "glm4": _make_glm("glm4"),
    "glm4.5": _make_glm("glm45"),
    "gpt_oss": FileFormat(
        "harmony",
        ends=("<|return|>",),
        tokens=("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
    ),
}
FORMATS: dict[str, SideFormat | FileFormat] = {**FILED, **PLAIN}


@dataclass(frozen=True)
class WrittenTemplate:
    """A template for one tokenizer.

    Args:
        end: The token that ends an answer; empty if the tokenizer has none that could.
        wanted_end: The token that the format ends answers with; empty if that is the eos.
        unknown: Tokens of the format that the tokenizer does not have.
    """

    template: str
    end: str
    wanted_end: str
    unknown: tuple[str, ...]


def write_template(name: str, tokenizer: Any, bos: str) -> WrittenTemplate:
    """Write a template of `config.chat_templates.CHAT_TEMPLATES`; `bos` is what plain text begins with."""
    form = FORMATS[name]
    known = frozenset(tokenizer.get_vocab())
    eos = str(tokenizer.eos_token or "")
    # A base model's tokenizer may lack the end token of the format; its eos can still be learned.
    end = next((token for token in form.ends if token in known), eos)
    # eos is left empty where it ends answers anyway, so that it is not written twice.
    tokens = TemplateTokens(bos, str(tokenizer.bos_token or ""), end, "" if end == eos else eos, known)
    if isinstance(form, SideFormat):
        template = write_sides(name, form, tokens)
    else:
        template = _write_header(form, tokens) + _read_body(form.file)
    unknown = tuple(token for token in form.tokens if token not in known)
    return WrittenTemplate(template, end, form.ends[0] if form.ends else "", unknown)


def _write_header(form: FileFormat, tokens: TemplateTokens) -> str:
    values: dict[str, Any] = {"bos": tokens.bos, "end": tokens.end, **form.settings}
    if form.front:
        values["start"] = "".join(token for token in form.front if token in tokens.known)
    for name, value in values.items():
        # Tuples are alternatives for one token, in the order of preference.
        if isinstance(value, tuple):
            values[name] = next((token for token in value if token in tokens.known), tokens.end)
    return "".join(f"{{%- set {name} = {_jinja_value(value)} -%}}\n" for name, value in values.items())


def _jinja_value(value: Any) -> str:
    return {None: "none", True: "true", False: "false"}.get(value) or quote_jinja(value)


@cache
def _read_body(file: str) -> str:
    return resources.files(__package__).joinpath(f"{file}.jinja").read_text(encoding="utf-8").strip()

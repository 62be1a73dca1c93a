"""The chat template of a name, written for one tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from tui_tuner.data.chat.named.plain import PLAIN
from tui_tuner.data.chat.named.sides import Sides, Tokens, literal, write_sides

_CHATML = ("<|im_start|>", "<|im_end|>")
_MISTRAL = ("[INST]", "[/INST]")
_DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>")


@dataclass(frozen=True)
class Filed:
    """A format with turns that texts around them do not describe: the Jinja file beside this module.

    Args:
        file: Its name, without the ending. It reads `bos`, `end` and what `settings` adds.
        settings: More variables; a tuple is the first of these tokens that the tokenizer knows, else its end.
        ends: Tokens that may end an answer, best first; none means eos.
        tokens: Tokens that the format needs.
        front: Tokens in front of everything, as `start`; those that the tokenizer does not know are left out.
    """

    file: str
    settings: dict[str, Any] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    front: tuple[str, ...] = ()


def _qwen(preamble: str | None, thinks: bool) -> Filed:
    settings = {"preamble": preamble, "thinks": thinks}
    return Filed("qwen", settings, ("<|im_end|>",), _CHATML)


def _qwen35(opening: str, json: bool = False) -> Filed:
    """`opening` is what an answer begins with; `json`: true and null are written so, not as in Python."""
    return Filed("qwen35", {"opening": opening, "json": json}, ("<|im_end|>",), _CHATML)


def _glm(file: str) -> Filed:
    roles = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
    front = ("[gMASK]", "<sop>")
    return Filed(file, {"called": ("<|observation|>",)}, ("<|user|>",), (*front, *roles), front)


FILED: dict[str, Filed] = {
    "chatml": Filed("chatml", ends=("<|im_end|>",)),
    "qwen2.5": _qwen("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", False),
    "qwen3": _qwen(None, True),
    "qwen3_instruct": _qwen(None, False),
    "qwen3.5": _qwen35("<think>\n"),
    "qwen3.5_nothink": _qwen35("<think>\n\n</think>\n\n"),
    "qwen3.6": _qwen35("<think>\n", json=True),
    "llama3.1": Filed(
        "llama31", ends=("<|eot_id|>",), tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    ),
    "mistral_v3": Filed("mistral", {"gap": " ", "marked": False}, tokens=_MISTRAL),
    "mistral_tekken": Filed("mistral", {"gap": "", "marked": False}, tokens=_MISTRAL),
    "mistral_small": Filed(
        "mistral",
        {"gap": "", "marked": True},
        tokens=(*_MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    ),
    "deepseek_v3": Filed("deepseek", {"thinks": False}, tokens=_DEEPSEEK),
    "deepseek_r1": Filed("deepseek", {"thinks": True}, tokens=_DEEPSEEK),
    "glm4": _glm("glm4"),
    "glm4.5": _glm("glm45"),
    "gpt_oss": Filed(
        "harmony",
        ends=("<|return|>",),
        tokens=("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
    ),
}
FORMATS: dict[str, Sides | Filed] = {**FILED, **PLAIN}


@dataclass(frozen=True)
class Written:
    """A template for one tokenizer.

    Args:
        end: What ends an answer; empty if the tokenizer has nothing that could.
        wanted_end: What would end it if the tokenizer knew it; empty if that is its eos.
        unknown: Tokens of the format that the tokenizer does not know.
    """

    template: str
    end: str
    wanted_end: str
    unknown: tuple[str, ...]


def write(name: str, tokenizer: Any, bos: str) -> Written:
    """The template of a name in `config.chat_templates.CHAT_TEMPLATES`; `bos` is what begins plain text."""
    form = FORMATS[name]
    known = frozenset(tokenizer.get_vocab())
    eos = str(tokenizer.eos_token or "")
    end = next((token for token in form.ends if token in known), eos)
    tokens = Tokens(bos, str(tokenizer.bos_token or ""), end, "" if end == eos else eos, known)
    if isinstance(form, Sides):
        template = write_sides(name, form, tokens)
    else:
        template = _header(form, tokens) + _body(form.file)
    unknown = tuple(token for token in form.tokens if token not in known)
    return Written(template, end, form.ends[0] if form.ends else "", unknown)


def _header(form: Filed, tokens: Tokens) -> str:
    values: dict[str, Any] = {"bos": tokens.bos, "end": tokens.end, **form.settings}
    if form.front:
        values["start"] = "".join(token for token in form.front if token in tokens.known)
    for name, value in values.items():
        if isinstance(value, tuple):
            values[name] = next((token for token in value if token in tokens.known), tokens.end)
    return "".join(f"{{%- set {name} = {_jinja(value)} -%}}\n" for name, value in values.items())


def _jinja(value: Any) -> str:
    return {None: "none", True: "true", False: "false"}.get(value) or literal(value)


@cache
def _body(file: str) -> str:
    return resources.files(__package__).joinpath(f"{file}.jinja").read_text(encoding="utf-8").strip()

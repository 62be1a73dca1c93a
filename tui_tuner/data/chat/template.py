"""Chat templates: which one is used, and rendering with each failure in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tui_tuner.data.chat.moment import rendering
from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

# ChatML as its authors describe it, and tool calls as models of its kind write them. END stands for what ends
# an answer: <|im_end|> where the tokenizer knows it, else its eos, so that there is a token to stop with.
_CHATML = (
    "{{ BOS }}"
    "{% if tools %}{{ '<|im_start|>system\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
    "{{ 'These functions can be called:\\n<tools>\\n' }}"
    "{% for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}"
    '{{ \'</tools>\\nA call is written as <tool_call>{"name": …, "arguments": …}</tool_call>\' }}'
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}{% if not (tools and loop.first and message['role'] == 'system') %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<tool_call>{\"name\": ' }}{{ call['function']['name'] | tojson }}{{ ', \"arguments\": ' }}"
    "{{ call['function']['arguments'] | tojson }}{{ '}</tool_call>' }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ END }}{% else %}{{ '<|im_end|>' }}{% endif %}{{ '\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MAX_TEMPLATE_BYTES = 1024 * 1024


def choose_template(tokenizer: Any, wanted: str | None = None) -> str:
    """Make sure the tokenizer has a chat template, and say in one sentence which, if it is not its own.

    `wanted` is `model.chat_template`: `chatml`, a Jinja file, or None for the tokenizer's own. The template
    is set on the tokenizer itself, so that it is saved with what is trained.

    Raises:
        ModelError: the file is missing, or there is no token an answer could end with.
    """
    if wanted == "chatml":
        tokenizer.chat_template, ending = _chatml(tokenizer)
        return _("Chat template: ChatML, as asked; answers end with {ending}.", ending=ending)
    if wanted is not None:
        tokenizer.chat_template = read_template(wanted)
        return _("Chat template: {path}.", path=one_line(wanted))
    if getattr(tokenizer, "chat_template", None):
        return ""
    tokenizer.chat_template, ending = _chatml(tokenizer)
    return _(
        "This tokenizer has no chat template: ChatML is used, and saved with the model; answers end with "
        "{ending}.",
        ending=ending,
    )


def _chatml(tokenizer: Any) -> tuple[str, str]:
    known = set(tokenizer.get_vocab())
    end = "<|im_end|>" if "<|im_end|>" in known else tokenizer.eos_token
    if not end:
        raise ModelError(
            _("this tokenizer has no chat template, and no eos token an answer could end with."),
            where="model.chat_template",
            hint=_("Give a tokenizer with an eos token in model.tokenizer."),
        )
    bos = repr(tokenizer.bos_token) if adds_bos(tokenizer) else "''"
    return _CHATML.replace("BOS", bos).replace("END", repr(end)), end


def read_template(path: str) -> str:
    """The text of a Jinja file.

    Raises:
        ModelError: missing, unreadable, or too large to be one.
    """
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > MAX_TEMPLATE_BYTES:
            raise ModelError(_("is larger than 1 MiB, so it is no template."), where=one_line(path))
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            what = _("no readable chat template: {problem}.", problem=error.strerror)
        else:
            what = _("no readable chat template: it is not UTF-8 text.")
        raise ModelError(
            what,
            where=one_line(path),
            hint=_("model.chat_template takes `chatml` or the path of a Jinja file."),
        ) from None


def adds_bos(tokenizer: Any) -> bool:
    """Whether this tokenizer puts its BOS in front of plain text."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        return False
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[0] == bos


def render(
    tokenizer: Any, messages: Sequence[dict[str, Any]], tools: Any = None, generation: bool = False
) -> str:
    """The text of a chat, with the date of the tokenizer's moment (`moment.py`) if the template writes one.

    Raises:
        RowProblem: the template refuses these turns, or fails on them.
    """
    from jinja2 import TemplateError

    try:
        with rendering(tokenizer):
            text = tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=generation
            )
    except TemplateError as error:
        raise RowProblem(N_("the chat template refuses these turns"), one_line(error, 200)) from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise RowProblem(N_("the chat template fails on these turns"), one_line(error, 200)) from None
    return str(text)


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts of special tokens; what a person wrote should hold none of them."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return [str(token.content) for token in added if token.special and len(str(token.content).strip()) > 2]

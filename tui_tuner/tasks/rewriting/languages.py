"""Languages of tokenizers that translate between many: mBART, NLLB, M2M100."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import join_first_names, one_line

SHOWN = 12


def set_languages(config: RunConfig, tokenizer: Any) -> None:
    """Set the languages that a tokenizer marks sources and targets with.

    Raises:
        ConfigError: it needs both and one is not set, or does not know one, or has none at all.
    """
    data = config.data
    fields = {"data.source_language": data.source_language, "data.target_language": data.target_language}
    known = list_languages(tokenizer)
    for field, value in fields.items():
        if value is None and known:
            raise ConfigError(
                _("this tokenizer marks each text with its language, and none is set."),
                where=field,
                hint=_("Set it to one of {names}.", names=_name_languages(known)),
                field=field,
            )
        if value is not None and not known:
            raise ConfigError(
                _("this tokenizer marks no languages."),
                where=field,
                hint=_("Leave it empty; T5 is told what to do by data.prefix."),
                field=field,
            )
        if value is not None and value not in known:
            raise ConfigError(
                _("the tokenizer knows no language {name}.", name=one_line(value, 40)),
                where=field,
                hint=_("Set it to one of {names}.", names=_name_languages(known)),
                field=field,
            )
    if known:
        tokenizer.src_lang, tokenizer.tgt_lang = data.source_language, data.target_language


def list_languages(tokenizer: Any) -> list[str]:
    """List the codes of the languages that a tokenizer marks texts with; empty if it marks none."""
    if not hasattr(tokenizer, "set_tgt_lang_special_tokens"):
        return []
    codes = getattr(tokenizer, "lang_code_to_id", None)
    if codes:
        return list(codes)
    # NLLB keeps its codes as further special tokens only.
    return [
        str(token) for token in getattr(tokenizer, "extra_special_tokens", None) or _list_extra(tokenizer)
    ]


def _list_extra(tokenizer: Any) -> list[Any]:
    return [token for token in tokenizer.all_special_tokens if "_" in str(token)]


def find_language_start(tokenizer: Any, code: str | None) -> dict[str, int]:
    """Return what a generation config needs so that answers begin in a language; empty without one."""
    if code is None or not list_languages(tokenizer):
        return {}
    named = getattr(tokenizer, "get_lang_token", None)
    token = tokenizer.convert_tokens_to_ids(named(code) if named is not None else code)
    # mBART-25 puts the language after the text, so that the shift makes it the decoder's first token.
    last = type(tokenizer).__name__.startswith("MBartTokenizer")
    return {"decoder_start_token_id" if last else "forced_bos_token_id": int(token)}


def _name_languages(known: list[str]) -> str:
    return ", ".join(join_first_names([one_line(name, 20) for name in known], SHOWN))

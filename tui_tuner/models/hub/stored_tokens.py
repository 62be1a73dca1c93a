"""Find and store hub tokens: the environment, the file of huggingface_hub, and a file for ModelScope."""

from __future__ import annotations

import os
from pathlib import Path

from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE

VARIABLES = {HUGGINGFACE: ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), MODELSCOPE: ("MODELSCOPE_API_TOKEN",)}

_LEAST, _MOST = 8, 1000  # characters of a token


def is_token(text: str) -> bool:
    """Return whether a text can be a token, which is a single word that a request header can hold."""
    return _LEAST <= len(text) <= _MOST and text.isascii() and text.isprintable() and " " not in text


def find_modelscope_token_file() -> Path:
    """Return the path of the file with the ModelScope token."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "tui-tuner" / "modelscope_token"


def find_token(source: str) -> tuple[str, str]:
    """Return a token and where it comes from; both empty if there is none."""
    for variable in VARIABLES[source]:
        if token := (os.environ.get(variable) or "").strip():
            return token, variable
    if source == MODELSCOPE:
        try:
            return find_modelscope_token_file().read_text(encoding="utf-8").strip(), str(
                find_modelscope_token_file()
            )
        except (OSError, ValueError):
            return "", ""
    from huggingface_hub import get_token

    return get_token() or "", str(find_token_file(source))


def find_token_file(source: str) -> Path:
    """Return the file that holds the token, whether it exists or not."""
    if source == MODELSCOPE:
        return find_modelscope_token_file()
    from huggingface_hub import constants

    return Path(constants.HF_TOKEN_PATH)


def write_token(path: Path, token: str) -> None:
    """Write a token so that only its user can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    # The mode is set when the file is created: a later chmod would leave it readable for a moment.
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(token)
    os.replace(new, path)

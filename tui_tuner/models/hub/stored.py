"""Where tokens of hubs lie: the environment, the file of huggingface_hub, and a file for ModelScope."""

from __future__ import annotations

import os
from pathlib import Path

from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE

VARIABLES = {HUGGINGFACE: ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), MODELSCOPE: ("MODELSCOPE_API_TOKEN",)}

_LEAST, _MOST = 8, 1000  # characters of a token


def is_token(text: str) -> bool:
    """Whether this may be a token, which is a single word that a header of a request can hold."""
    return _LEAST <= len(text) <= _MOST and text.isascii() and text.isprintable() and " " not in text


def modelscope_file() -> Path:
    """Where the token for ModelScope lies."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "tui-tuner" / "modelscope_token"


def find_token(source: str) -> tuple[str, str]:
    """A token and where it is from; empty if there is none."""
    for variable in VARIABLES[source]:
        if token := (os.environ.get(variable) or "").strip():
            return token, variable
    if source == MODELSCOPE:
        try:
            return modelscope_file().read_text(encoding="utf-8").strip(), str(modelscope_file())
        except (OSError, ValueError):
            return "", ""
    from huggingface_hub import get_token

    return get_token() or "", str(token_file(source))


def token_file(source: str) -> Path:
    """The file that holds the token, whether it is there or not."""
    if source == MODELSCOPE:
        return modelscope_file()
    from huggingface_hub import constants

    return Path(constants.HF_TOKEN_PATH)


def write_token(path: Path, token: str) -> None:
    """Write a token where only its user can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(token)
    os.replace(new, path)

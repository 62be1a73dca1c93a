"""Keeping tokens out of journals, configs and logs.

Two nets: the values of environment variables whose names say that they are secret (and the hub's token file),
and the shapes that well-known tokens have. What is found becomes `[secret]`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _

_NAMES = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|(?:API|ACCESS|PRIVATE|AUTH|SECRET)_?KEY)$",
    re.IGNORECASE,
)
_LEAST = 8  # characters; shorter values would blank out ordinary words
# A piece of text that must be there, looked for first because that is 20 times cheaper, and the whole shape.
_SHAPES = (
    ("hf_", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}"),  # Hugging Face
    ("sk-", r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic
    ("gh", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}"),  # GitHub
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{30,}"),
    ("glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),  # GitLab
    ("xox", r"xox[abprs]-[A-Za-z0-9-]{10,}"),  # Slack
    ("AKIA", r"(?<![A-Za-z0-9])AKIA[A-Z0-9]{16}"),  # AWS key id
    ("AIza", r"AIza[A-Za-z0-9_-]{35}"),  # Google
    (".eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),  # JSON web token
    ("earer ", r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{12,}"),
    ("://", r"(?<=://)[^\s/@:\"\\]{1,80}:[^\s/@\"\\]{3,200}(?=@)"),  # user:password in an address
)
MASK = "[secret]"


class Scrubber:
    """Replaces secrets in text. Made once; the environment is read then."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = _values(os.environ if environment is None else environment)
        inside_json = [json.dumps(value, ensure_ascii=False)[1:-1] for value in values]
        literal = [(value, re.escape(value)) for value in dict.fromkeys([*values, *inside_json])]
        self._rules = [
            (needle.encode(), re.compile(shape.encode())) for needle, shape in [*literal, *_SHAPES]
        ]

    def text(self, text: str) -> str:
        return self.line(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def line(self, line: bytes) -> bytes:
        """A line, of JSON or not: what is put in has no character that JSON escapes."""
        for needle, shape in self._rules:
            if needle in line:
                line = shape.sub(MASK.encode(), line)
        return line

    def finds(self, text: str) -> bool:
        return self.text(text) != text

    def blank_out(self, path: Path) -> int:
        """Overwrite secrets in a file with `*` where they stand, so that open appenders are not disturbed.

        Returns how many there were; 0 where the file cannot be read or written.
        """
        try:
            with open(path, "r+b") as file:
                return self._blank_out(file)
        except OSError:
            return 0

    def _blank_out(self, file: BinaryIO) -> int:
        count, start, carry = 0, 0, b""
        while block := file.read(_BLOCK):
            text = carry + block
            rules = [shape for needle, shape in self._rules if needle in text]
            for first, end in {found.span() for shape in rules for found in shape.finditer(text)}:
                file.seek(start + first)
                file.write(b"*" * (end - first))
                count += 1
            keep = min(_OVERLAP, len(text))
            start += len(text) - keep
            file.seek(start)
            carry = file.read(keep)  # as it is now
        return count


_BLOCK = 4 << 20
_OVERLAP = 4096  # bytes looked at twice, for a secret across two blocks


@functools.lru_cache(maxsize=1)
def scrubber() -> Scrubber:
    """The scrubber of this process's environment."""
    return Scrubber()


def refuse_secrets(text: str, where: str) -> None:
    """Raise `ConfigError` if a config holds what looks like a token: configs are kept in run folders."""
    for number, line in enumerate(text.splitlines(), 1):
        if scrubber().finds(line):
            raise ConfigError(
                _("holds what looks like a token or a password, and configs are kept in the run folder."),
                where=f"{where}: {scrubber().text(line.strip())[:100]} (line {number})",
                hint=_("Take it out; for the hub, set HF_TOKEN in the environment or use `hf auth login`."),
            )


def _values(environment: Mapping[str, str]) -> list[str]:
    """Secret values, longest first, so that one that contains another is replaced whole."""
    values = {value.strip() for name, value in environment.items() if _NAMES.search(name)}
    home = Path(environment.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    path = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
    values.discard(environment.get("HF_TOKEN_PATH", ""))
    with contextlib.suppress(OSError, UnicodeDecodeError):
        values.add(path.read_text(encoding="utf-8").strip())
    plain = {value for value in values if len(value) >= _LEAST and not value.startswith(("/", "~"))}
    return sorted(plain, key=len, reverse=True)

"""Keeping tokens out of journals, configs and logs.

Two nets: the values of environment variables whose names say that they are secret (and the hub's token file),
and the shapes that well-known tokens have. What is found becomes `[secret]`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tui_tuner.config.advice import Command, advise
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.runs.private import open_private

_NAMES = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|(?:API|ACCESS|PRIVATE|AUTH|SECRET)_?KEY)$",
    re.IGNORECASE,
)
_LEAST = 8  # characters; shorter values would blank out ordinary words
# No letter or digit before, but for those of an escape that JSON writes for a new line
_EDGE = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u00[0-9a-f][0-9a-f]))"
_IS = r"[\"'\\]*\s*[:=]\s*[\"'\\]*"
# A piece of text that must be there, looked for first because that is 20 times cheaper, and the whole shape.
_SHAPES = (
    ("hf_", _EDGE + r"hf_[A-Za-z0-9]{20,}"),  # Hugging Face
    ("ms-", _EDGE + r"ms-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),  # ModelScope
    ("sk-", _EDGE + r"sk-[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic
    ("gh", _EDGE + r"gh[pousr]_[A-Za-z0-9]{30,}"),  # GitHub
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{30,}"),
    ("glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),  # GitLab
    ("xox", r"xox[abprs]-[A-Za-z0-9-]{10,}"),  # Slack
    ("AKIA", _EDGE + r"AKIA[A-Z0-9]{16}"),  # AWS key id
    ("ASIA", _EDGE + r"ASIA[A-Z0-9]{16}"),  # AWS, for a session
    # AWS: a secret has no shape of its own, so it is known by what stands before it
    ("ecret", rf"(?i:aws_secret_access_key|SecretAccessKey){_IS}([A-Za-z0-9/+=]{{30,}})"),
    ("SECRET", rf"(?i:aws_secret_access_key){_IS}([A-Za-z0-9/+=]{{30,}})"),
    ("wandb", rf"wandb_api_key{_IS}([A-Za-z0-9_-]{{20,}})"),
    ("WANDB", rf"WANDB_API_KEY{_IS}([A-Za-z0-9_-]{{20,}})"),
    ("wandb_v1_", r"wandb_v1_[A-Za-z0-9_-]{20,}"),
    ("npm_", _EDGE + r"npm_[A-Za-z0-9]{30,}"),
    ("pypi-", r"pypi-[A-Za-z0-9_-]{40,}"),
    ("AIza", r"AIza[A-Za-z0-9_-]{35}"),  # Google
    (".eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),  # JSON web token
    ("earer ", r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{12,}"),
    # user:password in an address, and a token alone; a path made of an address has one slash left
    (":/", r"(?:(?<=://)|(?<=:/))[^\s/@:\"\\]{0,80}:[^\s/@\"\\]{1,200}(?=@)"),
    (":/", r"(?:(?<=://)|(?<=:/))[A-Za-z0-9_.~-]{16,200}(?=@)"),
)
MASK = "[secret]"


def _place(found: re.Match[bytes]) -> tuple[int, int]:
    """Where the secret itself stands: the group of a shape that has one, or all of it."""
    return found.span(found.re.groups)


def _masked(found: re.Match[bytes]) -> bytes:
    (start, end), whole = _place(found), found.start()
    return found[0][: start - whole] + MASK.encode() + found[0][end - whole :]


class Scrubber:
    """Replaces secrets in text, those of an environment and of the user's files as they are now."""

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
                line = shape.sub(_masked, line)
        return line

    def finds(self, text: str) -> bool:
        return self.text(text) != text

    def blank_out(self, path: Path, start: int = 0) -> int:
        """Overwrite secrets in a file with `*` where they stand, so that open appenders are not disturbed.

        Looks from a little before byte `start` on. Returns how many there were; 0 where the file cannot be
        read or written.
        """
        try:
            with open(open_private(path, os.O_RDWR), "r+b") as file:
                return self._blank_out(file, max(0, start - _OVERLAP))
        except OSError:
            return 0

    def _blank_out(self, file: BinaryIO, start: int) -> int:
        count, carry = 0, b""
        file.seek(start)
        while block := file.read(_BLOCK):
            text = carry + block
            rules = [shape for needle, shape in self._rules if needle in text]
            for first, end in {_place(found) for shape in rules for found in shape.finditer(text)}:
                file.seek(start + first)
                file.write(b"*" * (end - first))
                count += 1
            keep = min(_OVERLAP, len(text))
            start += len(text) - keep
            file.seek(start)
            carry = file.read(keep)  # as it is now
        return count


def _in_file(name: str, text: str) -> set[str]:
    """The secrets in a file of tokens: all of it, or what stands behind a word that says so."""
    if name in ("token", "modelscope_token"):
        return {text.strip()}
    return set(re.findall(r"(?:hf_token\s*=|password)\s+(\S+)", text))


_MOST_OF_FILE = 1 << 20
_BLOCK = 4 << 20
_OVERLAP = 4096  # bytes looked at twice, for a secret across two blocks


_made: tuple[Any, Scrubber] | None = None
_known: dict[str, None] = {}  # values that were secret in this process at some time


def scrubber() -> Scrubber:
    """The scrubber of this process's environment; made anew when that, or a file of tokens, has changed."""
    global _made
    files = token_files(os.environ)
    state = dict(os.environb), [_written(path) for path in files]
    if _made is None or _made[0] != state:
        _made = state, Scrubber()
    return _made[1]


def token_files(environment: Mapping[str, str]) -> list[Path]:
    """Where the hub's and other programs' tokens lie, whether they are there or not."""
    try:
        cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
        home = Path(environment.get("HF_HOME") or cache / "huggingface").expanduser()
        token = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
        settings = Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        own = settings / "tui-tuner" / "modelscope_token"
        return [token, token.with_name("stored_tokens"), own, Path("~/.netrc").expanduser()]
    except RuntimeError:  # nobody knows where the home is
        return []


def _written(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def refuse_secrets(text: str, where: str) -> None:
    """Raise `ConfigError` if a config holds what looks like a token: configs are kept in run folders."""
    for number, line in enumerate(text.splitlines(), 1):
        if scrubber().finds(line):
            raise ConfigError(
                _("holds what looks like a token or a password, and configs are kept in the run folder."),
                where=f"{where}: {scrubber().text(line.strip())[:100]} (line {number})",
                hint=advise(
                    N_(
                        "Take it out; for a hub, set HF_TOKEN in the environment, or log in: {command}.",
                        command=Command("`tui-tuner models login`", N_("l on the models screen")),
                    )
                ),
            )


def _values(environment: Mapping[str, str]) -> list[str]:
    """Secret values, longest first, so that one that contains another is replaced whole."""
    values = {value.strip() for name, value in environment.items() if _NAMES.search(name)}
    values.discard(environment.get("HF_TOKEN_PATH", ""))
    for path in token_files(environment):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            values |= _in_file(path.name, path.read_text(encoding="utf-8")[:_MOST_OF_FILE])
    if environment is os.environ:
        values |= _known.keys()
        _known.update(dict.fromkeys(values))
    plain = {value for value in values if len(value) >= _LEAST and not value.startswith(("/", "~"))}
    return sorted(plain, key=len, reverse=True)

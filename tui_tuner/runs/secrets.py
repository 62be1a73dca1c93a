"""Keep tokens out of journals, configs and logs.

Two searches: the values of environment variables with secret-sounding names (and of the token files), and the
shapes of well-known tokens. Each secret becomes `[secret]`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tui_tuner.config.advice import Command, build_hint
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.runs.private_files import open_private

_NAMES = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|(?:API|ACCESS|PRIVATE|AUTH|SECRET)_?KEY)$",
    re.IGNORECASE,
)
_LEAST = 8  # characters; shorter values would blank out ordinary words
# No letter or digit before it, except the last one of a JSON escape such as that of a new line.
_EDGE = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u00[0-9a-f][0-9a-f]))"
_IS = r"[\"'\\]*\s*[:=]\s*[\"'\\]*"
# A piece of text that must be present, searched first because that is 20 times cheaper, and the full pattern.
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
    # AWS: a secret has no shape of its own, so it is recognised by the name before it
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
    # user:password in an address, and a token alone; `Path` leaves one slash of the two
    (":/", r"(?:(?<=://)|(?<=:/))[^\s/@:\"\\]{0,80}:[^\s/@\"\\]{1,200}(?=@)"),
    (":/", r"(?:(?<=://)|(?<=:/))[A-Za-z0-9_.~-]{16,200}(?=@)"),
)
MASK = "[secret]"


def _find_secret_span(found: re.Match[bytes]) -> tuple[int, int]:
    """Return where the secret itself is: the group of a pattern that has one, or the whole match."""
    return found.span(found.re.groups)


def _mask_match(found: re.Match[bytes]) -> bytes:
    (start, end), whole = _find_secret_span(found), found.start()
    return found[0][: start - whole] + MASK.encode() + found[0][end - whole :]


class Scrubber:
    """Replaces secrets in text: those of the environment and of the user's token files."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = _list_secrets(os.environ if environment is None else environment)
        # Journal lines are JSON, where a password with quotes or backslashes is spelled differently.
        inside_json = [json.dumps(value, ensure_ascii=False)[1:-1] for value in values]
        literal = [(value, re.escape(value)) for value in dict.fromkeys([*values, *inside_json])]
        self._rules = [
            (needle.encode(), re.compile(shape.encode())) for needle, shape in [*literal, *_SHAPES]
        ]

    def mask_text(self, text: str) -> str:
        return self.mask_line(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def mask_line(self, line: bytes) -> bytes:
        """Mask secrets in a line, which may be JSON: the replacement needs no escapes there."""
        for needle, shape in self._rules:
            if needle in line:
                line = shape.sub(_mask_match, line)
        return line

    def has_secret(self, text: str) -> bool:
        return self.mask_text(text) != text

    def blank_out(self, path: Path, start: int = 0) -> int:
        """Overwrite secrets in a file with `*` in place, so that processes which append to it are not
        disturbed.

        Searches from a little before byte `start`. Returns the number of secrets; 0 if the file cannot be
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
            for first, end in {_find_secret_span(found) for shape in rules for found in shape.finditer(text)}:
                file.seek(start + first)
                file.write(b"*" * (end - first))
                count += 1
            keep = min(_OVERLAP, len(text))
            start += len(text) - keep
            file.seek(start)
            carry = file.read(keep)  # read again, with the new asterisks
        return count


def _find_in_file(name: str, text: str) -> set[str]:
    """Return the secrets in a token file: all of it, or the values after `hf_token` and `password`."""
    if name in ("token", "modelscope_token"):
        return {text.strip()}
    return set(re.findall(r"(?:hf_token\s*=|password)\s+(\S+)", text))


_MOST_OF_FILE = 1 << 20
_BLOCK = 4 << 20
_OVERLAP = 4096  # bytes searched twice, for a secret across two blocks


_made: tuple[Any, Scrubber] | None = None
# Secrets of this process at any time: a token that was replaced may still be in a log.
_known: dict[str, None] = {}


def get_current_scrubber() -> Scrubber:
    """Return the scrubber of this process, rebuilt if its environment or a token file has changed."""
    global _made
    files = list_token_files(os.environ)
    # Bytes, as a dict of `os.environ` would decode every value on each call.
    state = dict(os.environb), [_read_stamp(path) for path in files]
    if _made is None or _made[0] != state:
        _made = state, Scrubber()
    return _made[1]


def list_token_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the paths of token files of the hubs and other programs, whether they exist or not."""
    try:
        cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
        home = Path(environment.get("HF_HOME") or cache / "huggingface").expanduser()
        token = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
        settings = Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        own = settings / "tui-tuner" / "modelscope_token"
        return [token, token.with_name("stored_tokens"), own, Path("~/.netrc").expanduser()]
    # No home folder is known for this user.
    except RuntimeError:
        return []


def _read_stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def refuse_secrets(text: str, where: str) -> None:
    """Raise `ConfigError` if a config seems to contain a token, because configs are stored in run folders."""
    for number, line in enumerate(text.splitlines(), 1):
        if get_current_scrubber().has_secret(line):
            raise ConfigError(
                _("seems to contain a token or a password, and configs are stored in the run folder."),
                where=f"{where}: {get_current_scrubber().mask_text(line.strip())[:100]} (line {number})",
                hint=build_hint(
                    N_(
                        "Remove it; for a hub, set HF_TOKEN in the environment, or log in: {command}.",
                        command=Command("`tui-tuner models login`", N_("l on the models screen")),
                    )
                ),
            )


def _list_secrets(environment: Mapping[str, str]) -> list[str]:
    """Return secret values, longest first, so that one that contains another is replaced whole."""
    values = {value.strip() for name, value in environment.items() if _NAMES.search(name)}
    # Its name fits the pattern, but it is a path.
    values.discard(environment.get("HF_TOKEN_PATH", ""))
    for path in list_token_files(environment):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            values |= _find_in_file(path.name, path.read_text(encoding="utf-8")[:_MOST_OF_FILE])
    if environment is os.environ:
        values |= _known.keys()
        _known.update(dict.fromkeys(values))
    plain = {value for value in values if len(value) >= _LEAST and not value.startswith(("/", "~"))}
    return sorted(plain, key=len, reverse=True)

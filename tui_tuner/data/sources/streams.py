"""Open files, compressed or not, with limits against decompression bombs; and guess text encodings."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tui_tuner.data.sources import zips
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line

# Text rarely compresses better than 30:1; a bomb does 1,000:1 and more.
MAX_RATIO = 200
FREE_BYTES = 32 * 1024 * 1024
MAX_MEMBERS = 200_000
HEAD = 1024 * 1024


class _LimitedReader(io.RawIOBase):
    """Raw bytes out of a decompressor, which stops at an implausible compression ratio."""

    def __init__(self, source: IO[bytes], size: int, where: str) -> None:
        self._source = source
        self._limit = max(FREE_BYTES, size * MAX_RATIO)
        self._where = where
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._source.read(len(buffer))
        except Exception as error:
            # zstandard is optional and slow to import, so its error is recognised by name.
            if isinstance(error, zips.DAMAGED) or type(error).__name__ == "ZstdError":
                raise DataError(
                    _("is damaged: {error}.", error=one_line(error, 120)), where=self._where
                ) from None
            raise
        self._given += len(block)
        if self._given > self._limit:
            raise _bomb_error(self._limit, self._where)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._source.close()
        super().close()


def detect_compression(head: bytes) -> str:
    """Return `gz`, `zst`, `zip` or an empty string, judging by the first bytes."""
    if head[:2] == b"\x1f\x8b":
        return "gz"
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return "zst"
    return "zip" if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") else ""


@contextmanager
def open_byte_stream(path: Path, member: str | None = None) -> Iterator[io.BufferedReader]:
    """Open a file, or one member of a zip, and give its unpacked bytes.

    Raises:
        DataError: missing, unreadable, damaged, encrypted, or a decompression bomb.
    """
    where = f"{one_line(path)}/{one_line(member)}" if member else one_line(path)
    try:
        with open(path, "rb", buffering=HEAD) as raw:
            packed = detect_compression(raw.read(4))
            raw.seek(0)
            size = path.stat().st_size
            if packed == "gz":
                # The first bytes decide and not the suffix: many ".json" files are gzip in fact.
                source: Any = gzip.GzipFile(fileobj=raw)
            elif packed == "zst":
                import zstandard

                # Files written with `zstd --long=27` need this window, and a larger one could claim
                # gigabytes of memory from a few bytes.
                source = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(
                    raw, read_across_frames=True
                )
            elif packed == "zip" and member is not None:
                source, size = _open_member(path, member, raw, where)
            else:
                yield cast(io.BufferedReader, raw)
                return
            yield io.BufferedReader(_LimitedReader(source, size, where), HEAD)
    except FileNotFoundError:
        raise DataError(_("no such file."), where=where) from None
    except OSError as error:
        raise DataError(
            _("cannot be read: {problem}.", problem=error.strerror or one_line(error)), where=where
        ) from None
    except zips.EncryptedMember:
        raise DataError(_("is an encrypted archive."), where=where, hint=_("Unpack it first.")) from None


def _open_member(path: Path, member: str, raw: IO[bytes], where: str) -> tuple[zips.Member, int]:
    """Open one file of a zip; return it and the packed bytes that it takes."""
    try:
        about = zips.read_zip_index(path)[member]
        return zips.Member(raw, about), about.compress_size
    except (*zips.DAMAGED, KeyError) as error:
        raise DataError(
            _("is a damaged archive: {error}.", error=one_line(error, 120)), where=where
        ) from None


def list_zip_members(path: Path) -> list[str]:
    """List the names of the files in a zip, in archive order.

    Raises:
        DataError: damaged, too many, or a decompression bomb.
    """
    where = one_line(path)
    try:
        members = zips.read_zip_index(path)
    except (*zips.DAMAGED, OSError) as error:
        raise DataError(
            _("is a damaged archive: {error}.", error=one_line(error, 120)), where=where
        ) from None
    if len(members) > MAX_MEMBERS:
        raise DataError(
            _("holds {count:,} files, more than {most:,}.", count=len(members), most=MAX_MEMBERS), where=where
        )
    limit = max(FREE_BYTES, path.stat().st_size * MAX_RATIO)
    if sum(item.file_size for item in members.values()) > limit:
        raise _bomb_error(limit, where)
    return list(members)


def _bomb_error(limit: int, where: str) -> DataError:
    return DataError(
        _(
            "unpacks to more than {limit}, which is too much for its size: it is not data, or it is a "
            "decompression bomb.",
            limit=format_bytes(limit),
        ),
        where=where,
        hint=_("Unpack it yourself if you trust it."),
    )


def detect_encoding(head: bytes, whole: bool, told: str | None = None) -> str:
    """Detect the text encoding of a file from its first bytes, unless it is `told`.

    `whole` means that nothing follows `head`.
    A byte order mark decides; then UTF-8 if it decodes; else charset-normalizer's best guess; else Latin-1,
    which decodes anything.
    """
    if told is not None:
        return _normalise_encoding(told)
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        # UTF-32 first: its little-endian mark begins with the one of UTF-16.
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if head.startswith(mark):
            return name
    # Must come before UTF-8: ASCII letters with NULs between them are valid UTF-8.
    if _looks_utf16(head):
        return "utf-16-le" if head[1:200:2].count(0) > head[0:200:2].count(0) else "utf-16-be"
    block = head if whole else head[: _find_safe_cut(head)]
    try:
        block.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        # A few stray bytes in text that is UTF-8 otherwise do not make it another encoding.
        good = block.decode("utf-8", "ignore")
        if sum(char > "\x7f" for char in good) > len(block) - len(good.encode()):
            return "utf-8"
    return _guess_encoding(head)


# Codecs for host names: they take quadratic time, or cannot decode text that has errors in it
_NO_ENCODINGS = ("idna", "punycode", "undefined")


def _normalise_encoding(name: str) -> str:
    """Return Python's name of an encoding; codecs that are not for text, such as `hex`, are refused."""
    try:
        # A trial decode, because `lookup` also finds codecs such as `hex` and `zip`, which are not for
        # text.
        b"a".decode(name, "replace")
        found = codecs.lookup(name).name
        if found not in _NO_ENCODINGS:
            return found
    except (LookupError, ValueError):
        pass
    raise DataError(_("unknown encoding {name!r}.", name=one_line(name)), where="data.encoding")


# Encodings of Latin letters, which a guess can hardly distinguish. Western European is the most common, so it
# is used where nearly all its letters are those of Western languages.
_LATIN = re.compile(
    r"cp125[02478]|iso8859_(?:1|2|3|4|9|10|13|14|15|16)|latin_1|hp_roman8|mac_(?:latin2|roman|iceland|turkish)"
    r"|cp(?:437|775|85[0278]|86[0135])"
)
_WESTERN = re.compile("[À-ÖØ-ÝßŒœŠšŽžàáâãäåæçèéêëìíîïñòóôõöøùúûüÿ‘’“”„–—…€«»°§·´\u00a0]|(?<!\\w)[¿¡]")


def _guess_encoding(head: bytes) -> str:
    from charset_normalizer import from_bytes

    found = from_bytes(head[: 256 * 1024])
    best = found.best()
    if best is None or _LATIN.fullmatch(best.encoding):
        western = head.decode("cp1252", "replace")
        foreign = sum(char > "\x7f" for char in western)
        mostly_ascii = foreign < 0.3 * sum(char.isalpha() for char in western)
        if mostly_ascii and len(_WESTERN.findall(western)) >= 0.9 * foreign:
            return "cp1252"
    if best is None:
        return "latin-1"
    # GB18030 contains both older sets, and files that claim them often use its characters.
    return {"gb2312": "gb18030", "gbk": "gb18030", "ascii": "utf-8"}.get(best.encoding, best.encoding)


def _looks_utf16(head: bytes) -> bool:
    """Detect UTF-16 without a mark: ASCII text in it has a NUL in every other byte."""
    sample = head[:200]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    return len(sample) >= 4 and max(even, odd) > len(sample) * 0.4 and min(even, odd) == 0


def _find_safe_cut(block: bytes) -> int:
    """Return where a block can be cut without splitting a UTF-8 character."""
    for back in range(1, 5):
        if len(block) >= back and block[-back] >= 0xC0:
            return len(block) - back
        if len(block) >= back and block[-back] < 0x80:
            break
    return len(block)

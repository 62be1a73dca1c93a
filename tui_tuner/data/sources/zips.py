"""Read zip archives: an index that is read once, and members that are unpacked only as far as asked for."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

_HEADER = struct.Struct(
    "<4s2xHH16xHH"
)  # of a member: signature, flags, method, length of its name and of the rest
_ENCRYPTED = 1
_BLOCK = 64 * 1024
_MAX_DICTIONARY = 64 * 1024 * 1024
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError,
    struct.error, IndexError, OverflowError,
)  # fmt: skip


class EncryptedMember(Exception):
    """The member has a password."""


def read_zip_index(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the files in a zip by name, in archive order; of several with one name the last.

    Raises:
        OSError: it cannot be read.
        zipfile.BadZipFile: damaged, or members that overlap, which no program writes.
        ValueError, NotImplementedError, ...: damaged (`DAMAGED`).
    """
    status = path.stat()
    return _read_cached_index(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _read_cached_index(path: Path, changed: int, size: int) -> dict[str, zipfile.ZipInfo]:
    # Each member is opened by itself, so without a cache the index would be read once for each of them.
    # The time and the size are part of the key: an archive that was written again is indexed again.
    with zipfile.ZipFile(path) as archive:
        found = {item.filename: item for item in archive.infolist() if not item.is_dir()}
    places = sorted(found.values(), key=lambda item: item.header_offset)
    for one, following in pairwise(places):
        # Members that share bytes are how a small zip bomb unpacks to petabytes.
        if following.header_offset < one.header_offset + _HEADER.size + one.compress_size:
            raise zipfile.BadZipFile("files overlap")
    return found


class Member(io.RawIOBase):
    """The bytes of one member, unpacked piece by piece; checked against its length and checksum at the end.

    `zipfile` unpacks a whole block of bz2 or LZMA at once, which can be a thousand times larger.

    Args:
        source: The archive, for this member alone.

    Raises:
        Encrypted: it has a password.
        zipfile.BadZipFile, NotImplementedError: damaged, or an unknown compression method.
    """

    def __init__(self, source: IO[bytes], about: zipfile.ZipInfo) -> None:
        self._source, self._about = source, about
        source.seek(about.header_offset)
        signature, flags, method, name, more = _HEADER.unpack(source.read(_HEADER.size))
        if signature != b"PK\x03\x04":
            raise zipfile.BadZipFile("no file begins where the archive says")
        if (flags | about.flag_bits) & _ENCRYPTED:
            raise EncryptedMember
        # The header at the member is read as well as the index: they differ in archives made to mislead.
        if method != about.compress_type:
            raise zipfile.BadZipFile("the archive contradicts itself")
        source.seek(name + more, io.SEEK_CUR)
        self._left = about.compress_size
        self._unpack = self._make_unpacker(method)
        self._given, self._sum, self._ended = 0, 0, False

    def _make_unpacker(self, method: int) -> Any:
        if method == zipfile.ZIP_STORED:
            return None
        if method == zipfile.ZIP_DEFLATED:
            return _DeflateDecompressor()
        if method == zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor()
        if method != zipfile.ZIP_LZMA:
            raise NotImplementedError(f"compression method {method}")
        _version, size = struct.unpack("<HH", self._read_packed(4))
        first, dictionary = struct.unpack("<BI", self._read_packed(size)[:5])
        # The decompressor allocates the whole dictionary at once, before the first byte.
        if dictionary > _MAX_DICTIONARY:
            raise NotImplementedError("an LZMA dictionary that is too large")
        rest, lc = divmod(first, 9)
        pb, lp = divmod(rest, 5)
        about = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": dictionary}
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[about])

    def _read_packed(self, most: int) -> bytes:
        block = self._source.read(min(most, self._left))
        self._left -= len(block)
        return block

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes; returns no bytes at the end."""
        most = _BLOCK if size is None or size < 0 else size
        block = b""
        while not block and not self._ended:
            if self._unpack is None:
                block = self._read_packed(most)
                self._ended = not block
            else:
                packed = self._read_packed(_BLOCK) if self._unpack.needs_input else b""
                starved = self._unpack.needs_input and not packed
                try:
                    block = self._unpack.decompress(packed, most)
                except OSError as error:  # of bz2
                    raise zipfile.BadZipFile(str(error)) from None
                self._ended = self._unpack.eof
                if starved and not block and not self._ended:
                    # An LZMA stream may have no end marker; then only its length says that it is whole.
                    if self._given != self._about.file_size:
                        raise EOFError("it ends too early")
                    self._ended = True
        self._given += len(block)
        self._sum = zlib.crc32(block, self._sum)
        # Checked with each block: a lying header must not unpack without end.
        if self._given > self._about.file_size:
            raise zipfile.BadZipFile("it is longer than the archive says")
        if self._ended and (self._given, self._sum) != (self._about.file_size, self._about.CRC):
            raise zipfile.BadZipFile("its length or checksum is wrong")
        return block


class _DeflateDecompressor:
    """zlib's decompressor with the interface of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, packed: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + packed, most)

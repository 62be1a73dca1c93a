"""Files in a zip archive: an index that is read once, and members that are unpacked as far as asked for."""

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


class Encrypted(Exception):
    """The member has a password."""


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in a zip by name, in its order; of several with one name the last, as unzipping leaves it.

    Raises:
        OSError: it cannot be read.
        zipfile.BadZipFile: damaged, or files that share bytes, as no program writes them.
        ValueError, NotImplementedError, ...: damaged (`DAMAGED`).
    """
    status = path.stat()
    return _index(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _index(path: Path, changed: int, size: int) -> dict[str, zipfile.ZipInfo]:
    """The same; kept, for each file in it is opened by itself, as long as the archive is not written anew."""
    with zipfile.ZipFile(path) as archive:
        found = {item.filename: item for item in archive.infolist() if not item.is_dir()}
    places = sorted(found.values(), key=lambda item: item.header_offset)
    for one, following in pairwise(places):
        if following.header_offset < one.header_offset + _HEADER.size + one.compress_size:
            raise zipfile.BadZipFile("files overlap")
    return found


class Member(io.RawIOBase):
    """The bytes of one member, unpacked piece by piece; checked against its length and checksum at the end.

    `zipfile` unpacks all of a block of bz2 or LZMA at once, which may be a thousand times as large.

    Args:
        source: The archive, for this member alone.

    Raises:
        Encrypted: it has a password.
        zipfile.BadZipFile, NotImplementedError: damaged, or packed in a way that is not known.
    """

    def __init__(self, source: IO[bytes], about: zipfile.ZipInfo) -> None:
        self._source, self._about = source, about
        source.seek(about.header_offset)
        signature, flags, method, name, more = _HEADER.unpack(source.read(_HEADER.size))
        if signature != b"PK\x03\x04":
            raise zipfile.BadZipFile("no file begins where the archive says")
        if (flags | about.flag_bits) & _ENCRYPTED:
            raise Encrypted
        if method != about.compress_type:
            raise zipfile.BadZipFile("the archive contradicts itself")
        source.seek(name + more, io.SEEK_CUR)
        self._left = about.compress_size
        self._unpack = self._unpacker(method)
        self._given, self._sum, self._ended = 0, 0, False

    def _unpacker(self, method: int) -> Any:
        if method == zipfile.ZIP_STORED:
            return None
        if method == zipfile.ZIP_DEFLATED:
            return _Deflated()
        if method == zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor()
        if method != zipfile.ZIP_LZMA:
            raise NotImplementedError(f"compression method {method}")
        _version, size = struct.unpack("<HH", self._packed(4))
        first, dictionary = struct.unpack("<BI", self._packed(size)[:5])
        if dictionary > _MAX_DICTIONARY:
            raise NotImplementedError("an LZMA dictionary that is too large")
        rest, lc = divmod(first, 9)
        pb, lp = divmod(rest, 5)
        about = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": dictionary}
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[about])

    def _packed(self, most: int) -> bytes:
        block = self._source.read(min(most, self._left))
        self._left -= len(block)
        return block

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most so many bytes; none at the end."""
        most = _BLOCK if size is None or size < 0 else size
        block = b""
        while not block and not self._ended:
            if self._unpack is None:
                block = self._packed(most)
                self._ended = not block
            else:
                packed = self._packed(_BLOCK) if self._unpack.needs_input else b""
                starved = self._unpack.needs_input and not packed
                try:
                    block = self._unpack.decompress(packed, most)
                except OSError as error:  # of bz2
                    raise zipfile.BadZipFile(str(error)) from None
                self._ended = self._unpack.eof
                if starved and not block and not self._ended:
                    if self._given != self._about.file_size:  # LZMA need not have an end of its own
                        raise EOFError("it ends too early")
                    self._ended = True
        self._given += len(block)
        self._sum = zlib.crc32(block, self._sum)
        if self._given > self._about.file_size:
            raise zipfile.BadZipFile("it is longer than the archive says")
        if self._ended and (self._given, self._sum) != (self._about.file_size, self._about.CRC):
            raise zipfile.BadZipFile("its length or checksum is wrong")
        return block


class _Deflated:
    """zlib's decompressor with the manners of the others."""

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

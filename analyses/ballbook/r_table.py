"""Read one data frame from an R data file, fast.

`rdata` reads whatever R can save and makes an object of every string on its way: some ten seconds
for the half million rows of a table of regulons. A table needs less. This reads what a data frame
of logical, whole, real and text columns is made of, in the XDR form of R's serialisation (R
Internals, section 1.8), and refuses the rest by name. The tests hold it to `rdata`, value by value.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_MAGIC = ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ", lzma.decompress))
_NIL, _REFERENCE, _SYMBOL, _PAIRS = 254, 255, 1, 2
_TEXT, _LOGICAL, _WHOLE, _REAL, _STRINGS, _LIST = 9, 10, 13, 14, 16, 19
_MISSING_WHOLE = np.int32(-(2**31))


class NotATable(ValueError):
    """The file holds something that this reader does not know; read it with `rdata`."""


class _Stream:
    """A place in the bytes, and the symbols met so far, to which later ones refer by number."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0
        self.symbols: list[str] = []

    def whole(self) -> int:
        (value,) = struct.unpack_from(">i", self.raw, self.at)
        self.at += 4
        return int(value)

    def numbers(self, kind: str) -> np.ndarray:
        n = self.whole()
        found = np.frombuffer(self.raw, dtype=kind, count=n, offset=self.at)
        self.at += found.nbytes
        return found.astype(found.dtype.newbyteorder("="))

    def strings(self) -> list[str | None]:
        # The loop that takes the time: no call but these per string.
        raw, n, unpack = self.raw, self.whole(), struct.Struct(">ii").unpack_from
        at = self.at
        found: list[str | None] = []
        seen: dict[bytes, str] = {}
        for _ in range(n):
            flags, size = unpack(raw, at)
            if flags & 255 != _TEXT:
                raise NotATable(f"type {flags & 255} where a string is expected")
            at += 8
            if size < 0:
                found.append(None)
                continue
            word = raw[at : at + size]
            at += size
            if word not in seen:
                # Latin-1 is bit 2 of the flags' upper half; all else here is UTF-8 or ASCII.
                seen[word] = word.decode("latin-1" if flags & (1 << 14) else "utf-8")
            found.append(seen[word])
        self.at = at
        return found

    def item(self) -> Any:
        """Return the next object: a value, or (list, attributes) for a list of columns."""
        flags = self.whole()
        kind, attributed = flags & 255, bool(flags & 512)
        value: Any
        if kind == _NIL:
            return None
        if kind == _REFERENCE:
            return self.symbols[(flags >> 8 or self.whole()) - 1]
        if kind == _SYMBOL:
            self.whole()
            size = self.whole()
            self.symbols.append(self.raw[self.at : self.at + size].decode())
            self.at += size
            return self.symbols[-1]
        if kind == _PAIRS:
            return self.pairs(flags)
        if kind == _STRINGS:
            value = self.strings()
        elif kind in (_WHOLE, _LOGICAL):
            value = self.numbers(">i4")
        elif kind == _REAL:
            value = self.numbers(">f8")
        elif kind == _LIST:
            value = [self.item() for _ in range(self.whole())]
        else:
            raise NotATable(f"an object of type {kind}")
        if not attributed:
            return _plain(kind, value)
        attributes = self.item()
        if kind == _LIST:
            return value, attributes
        if attributes:
            raise NotATable(f"a column with {', '.join(attributes)}")
        return _plain(kind, value)

    def pairs(self, flags: int) -> dict[str, Any]:
        """Return a chain of tagged values, of which this is the first."""
        found: dict[str, Any] = {}
        while flags & 255 == _PAIRS:
            if flags & 512:
                self.item()
            name = self.item() if flags & 1024 else str(len(found))
            found[name] = self.item()
            flags = self.whole()
        if flags & 255 != _NIL:
            raise NotATable(f"a chain that ends in type {flags & 255}")
        return found


def _plain(kind: int, value: Any) -> Any:
    """Return a vector with R's missing values as pandas has them."""
    if kind == _LOGICAL:
        return pd.arrays.BooleanArray(value != 0, value == _MISSING_WHOLE)
    if kind == _WHOLE and (value == _MISSING_WHOLE).any():
        return pd.arrays.IntegerArray(value, value == _MISSING_WHOLE)
    return value


def read_frame(path: Path, name: str) -> pd.DataFrame:
    """Return the data frame called `name` from a file that R's ``save`` wrote.

    Parameters
    ----------
    path : Path
        A file of any of R's compressions, in R's binary (XDR) form, version 2 or 3.
    name : str

    Returns
    -------
    DataFrame
        Columns in their order; rows are numbered, whatever their names in R.

    Raises
    ------
    NotATable
        If the file holds anything but data frames of plain columns (no factors, dates or
        attributes), or no frame called `name`.
    """
    raw = path.read_bytes()
    for magic, unpack in _MAGIC:
        if raw.startswith(magic):
            raw = unpack(raw)
            break
    if raw[:5] not in (b"RDX2\n", b"RDX3\n") or raw[5:7] != b"X\n":
        raise NotATable(f"{path.name} is no binary file of R's save")
    stream = _Stream(raw)
    stream.at = 7
    version = stream.whole()
    stream.at += 8  # the version of R that wrote it, and the oldest that can read it
    if version == 3:
        size = stream.whole()
        stream.at += size  # the name of the native encoding
    objects = stream.item()
    found = objects.get(name) if isinstance(objects, dict) else None
    if not (isinstance(found, tuple) and "data.frame" in (found[1].get("class") or ())):
        raise NotATable(f"{path.name} holds no data frame {name}")
    columns, attributes = found
    return pd.DataFrame(dict(zip(attributes["names"], columns, strict=True)))

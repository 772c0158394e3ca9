"""Look at a file before it is read: how large it will become, and whether it can be read at all.

Nothing here keeps more than a small part of a file in memory.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import yaml

MAX_YAML = 200_000
# No cell of a workbook holds more characters than a small part of this.
LONGEST_STRETCH = 1_000_000
# A matrix with fewer values is read whole, and everything wrong with it said at once.
SMALL_MATRIX = 20_000_000
_BLOCK = 1 << 20
_CELL = re.compile(rb'<(?:\w+:)?c\s[^<>]*?\br="([A-Z]{1,4})(\d{1,9})(?=")[^<>]*[^/<>]>')
_REFERENCE = 200


class Unreadable(ValueError):
    """A file that is not read; the message says why."""


class _Plain(yaml.SafeLoader):
    """YAML without aliases, by which a small text can stand for a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


class _Texts(_Plain):
    """The same with every value as it is written (007, yes, 1e-4), and no key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [str(k) for i, k in enumerate(keys) if k in keys[:i]]:
            raise yaml.YAMLError(f"{twice[0]} stands twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, *, texts: bool = False) -> Any:
    """Return the content of a small YAML file without aliases.

    Parameters
    ----------
    path : Path
    texts : bool
        Give every value as the text it is written as, and refuse a key that stands twice.

    Raises
    ------
    Unreadable
        Where it is no ordinary file, too large, too deep, or not YAML in UTF-8.
    """
    if not path.is_file():
        raise Unreadable("no ordinary file" if path.exists() else "no such file")
    try:
        with path.open("rb") as f:
            content = f.read(MAX_YAML + 1)
        if len(content) > MAX_YAML:
            raise Unreadable(f"at most {MAX_YAML // 1000} kB")
        return yaml.load(content.decode("utf8"), _Texts if texts else _Plain)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except OSError as e:
        raise Unreadable(str(e.strerror)) from None
    except (yaml.YAMLError, ValueError) as e:
        where = getattr(e, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise Unreadable(f"{getattr(e, 'problem', None) or e}{line}") from None


def digest(path: Path, most: int) -> str:
    """Return the sha256 of a file of at most `most` bytes.

    Raises
    ------
    ValueError
        Where it is larger.
    """
    found, size = hashlib.sha256(), 0
    with path.open("rb") as f:
        while block := f.read(_BLOCK):
            size += len(block)
            if size > most:
                raise ValueError(f"larger than {most // 10**6:,} MB")
            found.update(block)
    return found.hexdigest()


def workbook(content: bytes, columns: int, rows: int) -> str | None:
    """Return where a workbook holds something beyond so many columns or rows, or None.

    Cells that are only formatted do not count. A stretch of text longer than any cell is named as
    well: to read it would take a time that grows with its square.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            for part in parts.namelist():
                if not part.endswith(".xml"):
                    continue
                with parts.open(part) as f:
                    if found := _beyond(f, columns, rows):
                        return f"{found} ({Path(part).stem})"
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError):
        return None  # the reader that follows says what is wrong
    except Exception as e:  # zlib.error, and what a broken archive may raise besides
        return None if type(e).__module__ in {"zlib", "zipfile"} else str(e)
    return None


def _beyond(part: Any, columns: int, rows: int) -> str | None:
    rest, stretch = b"", 0
    while block := part.read(_BLOCK):
        stretch = stretch + len(block) if b">" not in block else 0
        if stretch > LONGEST_STRETCH:
            return f"more than {LONGEST_STRETCH:,} characters without a cell"
        for cell in _CELL.finditer(rest + block):
            if int(cell[2]) > rows or _column(cell[1]) > columns:
                return f"cell {(cell[1] + cell[2]).decode()}"
        rest = block[-_REFERENCE:]
    return None


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


def h5ad(path: Path) -> tuple[int, int, int]:
    """Return observations, variables and unpacked bytes of an h5ad, from its headers alone.

    Raises
    ------
    Exception
        h5py's own, where the file is none.
    """
    import h5py

    with h5py.File(path, "r") as f:
        sizes: list[int] = []
        f.visititems(lambda name, x: sizes.append(x.nbytes) if hasattr(x, "nbytes") else None)
        matrix = f["X"]
        # A sparse matrix is a group, and has no shape but this one.
        shape = matrix.attrs.get("shape", getattr(matrix, "shape", None))
        return int(shape[0]), int(shape[1]), sum(sizes)


def first_text(path: Path, separator: str) -> tuple[int, str, str] | None:
    """Return row, column and text of a cell of a large matrix that is no number, or None.

    Only the first lines are looked at, and nothing of a small matrix: where most of a large matrix
    is text, to read it all would take minutes and gigabytes.
    """
    if path.stat().st_size < SMALL_MATRIX:
        return None
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
        f = io.TextIOWrapper(cast(IO[bytes], raw), encoding="utf8", newline="")
        reader = csv.reader(f, delimiter=separator)
        header = next(reader, [])
        for _, row in zip(range(50), reader, strict=False):
            for name, cell in zip(header[1:], row[1:], strict=False):
                try:
                    float(cell)
                except ValueError:
                    return reader.line_num, name, cell
    return None

"""Where things are: the checkout, its folders, the reader's data mirror and the cache."""

from __future__ import annotations

import os
from pathlib import Path

from ballbook.errors import Refusal

MARKER = Path("data") / "catalog.yml"


class NotACheckout(Refusal, RuntimeError):
    """The book's folders cannot be found."""


def root() -> Path:
    """Return the checkout: `$BALLBOOK_HOME`, else the folder the installed package sits in.

    Raises
    ------
    NotACheckout
        Where the folder holds no ``data/catalog.yml``, naming the folder and the remedy.
    """
    given = os.environ.get("BALLBOOK_HOME")
    folder = Path(given).expanduser().resolve() if given else Path(__file__).resolve().parents[2]
    if not (folder / MARKER).is_file():
        origin = "BALLBOOK_HOME" if given else "the installed package"
        raise NotACheckout(
            f"{folder} (from {origin}) is not a checkout of the book: it has no {MARKER}. "
            "Set BALLBOOK_HOME to the folder that holds the Makefile, or install with "
            "`pip install -e .` in that folder."
        )
    return folder


def data() -> Path:
    """Return the folder of the catalogue, claims, snapshots and dictionaries."""
    return root() / "data"


def analyses() -> Path:
    """Return the folder of the chapters and the library."""
    return root() / "analyses"


def book() -> Path:
    """Return the folder of the prose."""
    return root() / "book"


def build() -> Path:
    """Return the folder that everything generated goes to."""
    return root() / "build"


def mirror() -> Path | None:
    """Return the data mirror `$BALLBOOK_DATA` names (relative to the checkout), or None."""
    given = os.environ.get("BALLBOOK_DATA")
    if not given:
        return None
    path = Path(given).expanduser()
    return path if path.is_absolute() else (root() / path).resolve()


def cache() -> Path:
    """Return the folder of downloaded files: `$BALLBOOK_CACHE`, else the user's cache folder."""
    given = os.environ.get("BALLBOOK_CACHE")
    if not given:
        import platformdirs

        return Path(platformdirs.user_cache_dir("ballbook"))
    path = Path(given).expanduser()
    return path if path.is_absolute() else (root() / path).resolve()

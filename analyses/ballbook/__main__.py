"""``ballbook``, also as ``python -m ballbook``.

A build is left to the server of an earlier one, where one is up; nothing is imported here before
that is known. What else there is to do, `ballbook.cli` does.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1:2] == ["build"]:
        from ballbook.served import served

        code = served("ballbook.cli", "served", sys.argv[1:])
        if code is not None and code < 0:
            sys.stderr.write(f"the build was killed by signal {-code}\n")
            code = 128 - code
        if code is not None:
            sys.exit(code)
    from ballbook.cli import main as commands

    commands(prog_name="ballbook")


if __name__ == "__main__":
    main()

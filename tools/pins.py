"""`python tools/pins.py EXTRA...` prints the pins of pyproject.toml's extras, one a line."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Prints what pip reads as a requirements file."""
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    print("\n".join(pin for extra in sys.argv[1:] for pin in extras[extra]))


if __name__ == "__main__":
    main()

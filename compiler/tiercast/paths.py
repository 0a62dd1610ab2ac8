"""Where the data rooms lie: beside the source tree in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

from tiercast.errors import ToolchainError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def room(name: str) -> Path:
    """The folder `name` ("kernels", "targets", "runtime", "effects").

    Raises ToolchainError when neither the checkout nor the installed package holds it.
    """
    for root in (_CHECKOUT, _PACKAGE):
        if (root / name).is_dir():
            return root / name
    raise ToolchainError(
        f"tiercast: the data folder {name!r} is neither in {_CHECKOUT} nor in {_PACKAGE}; "
        "the installation is incomplete, install the wheel again"
    )

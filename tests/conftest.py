"""Test tiers: what a test needs is a marker, and a test whose need is missing skips aloud with the reason.

native: the built extension `tiercast._native`. qemu(target): the target's cross compiler and emulator. peer:
other engines. slow: more than about five seconds. (pyproject.toml declares the markers.)
"""

from __future__ import annotations

import importlib.util
from functools import cache

import pytest
from hypothesis import settings

# Two shared cores: a wall-clock deadline would only measure the neighbours.
settings.register_profile("tiercast", deadline=None, max_examples=60)
settings.load_profile("tiercast")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="write rendered sources over tests/codegen/golden"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("native") and importlib.util.find_spec("tiercast._native") is None:
        pytest.skip("tiercast._native is not built: pip install -e .")
    for marker in item.iter_markers("qemu"):
        reason = _missing_toolchain(marker.args[0])
        if reason:
            pytest.skip(reason)


@cache
def _missing_toolchain(target: str) -> str | None:
    from tiercast.codegen.build import check_toolchain
    from tiercast.errors import ToolchainError
    from tiercast.target import find_target

    try:
        check_toolchain(find_target(target))
    except ToolchainError as error:
        return str(error)
    return None

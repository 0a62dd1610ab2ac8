"""Sizes as users write them, and the buckets they make."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.errors import UsageError
from tiercast.frontend.shapes import (
    MOST_BUCKETS,
    are_open,
    expand_shapes,
    first_shapes,
    has_buckets,
    parse_shapes,
)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("256", 256),
        ("256..512", (256, 512)),
        ("100..500", (100, 200, 400, 500)),
        ("256..512/128", (256, 384, 512)),
        ("256..500/128", (256, 384, 500)),
        ("256..256", 256),
        ("256,384,512", (256, 384, 512)),
        ("256|384", (256, 384)),
        ("96,256..512,256", (96, 256, 512)),
    ],
)
def test_what_sizes_stand_for(text: str, sizes: int | tuple[int, ...]) -> None:
    assert parse_shapes([f"image:1x3x{text}x8"]) == {"image": (1, 3, sizes, 8)}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x:",
        ":1x2",
        "x:1xa",
        "x:1x-2",
        "x:1x2..",
        "x:1x..4",
        "x:1x4/2",
        "x:1x2..4/0",
        "x:1x4..2",
        "x:1x0..4",
    ],
)
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(UsageError, match="--input"):
        parse_shapes([text])


def test_an_input_given_twice() -> None:
    with pytest.raises(UsageError, match="gives 'x' twice"):
        parse_shapes(["x:1x256", "x:1x512"])


def test_every_combination_is_a_bucket() -> None:
    shapes = parse_shapes(["x:1x3x256..512x128,256"])
    assert has_buckets(shapes) and first_shapes(shapes) == {"x": (1, 3, 256, 128)}
    assert [item["x"][2:] for item in expand_shapes(shapes, {})] == [
        (256, 128),
        (256, 256),
        (512, 128),
        (512, 256),
    ]


def test_one_name_has_one_size_at_a_time() -> None:
    shapes = parse_shapes(["x:1x3x256..512x256..512", "mask:1x256..512"])
    found = expand_shapes(shapes, {"x": ["", "", "S", "S"], "mask": ["", "S"]})
    assert found == [{"x": (1, 3, size, size), "mask": (1, size)} for size in (256, 512)]


def test_one_name_of_different_sizes() -> None:
    shapes = parse_shapes(["x:1x256..512", "mask:1x256"])
    with pytest.raises(
        UsageError, match=r"'mask': dimension 1 \(S\) has the sizes 256, and 256,512 elsewhere"
    ):
        expand_shapes(shapes, {"x": ["", "S"], "mask": ["", "S"]})


def test_too_many_buckets() -> None:
    shapes = parse_shapes(["x:1..8/1x1..9/1"])
    with pytest.raises(UsageError, match="8 x 9 sizes are 72 buckets, and a package holds 64"):
        expand_shapes(shapes, {})


def test_which_dimensions_the_model_leaves_open() -> None:
    shapes = parse_shapes(["x:1x3x256..512x256"])
    assert are_open(shapes, {"x": ["", "", "H", ""]})
    assert not are_open(shapes, {"x": ["", "", "", "W"]}) and not are_open(shapes, {})


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
def test_buckets_are_the_product(dims: list[list[int]]) -> None:
    found = expand_shapes({"x": dims}, {})
    assert len(found) == math.prod(map(len, dims)) <= MOST_BUCKETS
    assert len({item["x"] for item in found}) == len(found)
    assert all(size in sizes for item in found for size, sizes in zip(item["x"], dims, strict=True))

"""kernels.toml as registry: names are computed, the order is the merit, a refusal is kept."""

from __future__ import annotations

import struct

import pytest

from tiercast.errors import UsageError
from tiercast.isa import instruction_sets
from tiercast.kernel import KernelFamily, Param, Row, choose, families, rows_of

ALL = [row for family in families().values() for row in family.rows]


def test_names_are_computed_from_the_row_and_are_unique() -> None:
    for row in ALL:
        assert row.name.startswith(f"{row.op}_{row.isa}")
        assert "x".join(map(str, row.tile.values())) in row.name
    assert len({row.name for row in ALL}) == len(ALL)


@pytest.mark.parametrize("op", sorted({row.op for row in ALL}))
def test_every_op_ends_with_portable_which_needs_nothing(op: str) -> None:
    last = rows_of(op)[-1]
    assert last.isa == "portable" and not last.needs
    assert choose(op, frozenset()).row == last


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_every_row_can_be_chosen(row: Row) -> None:
    better = rows_of(row.op)[: rows_of(row.op).index(row)]
    assert not any(other.needs <= row.needs and other.tile == row.tile for other in better), (
        "a better row always wins"
    )
    assert row.needs >= set(instruction_sets()[row.isa].get("needs", [row.isa]))


@pytest.mark.parametrize("name", sorted(families()))
def test_every_family_has_samples_and_benches(name: str) -> None:
    family = families()[name]
    assert family.folder.name == name and family.doc
    assert family.samples and family.benches


def test_choice_keeps_why_better_rows_were_refused() -> None:
    best, *_ = rows = rows_of("conv2d_f32f32")
    choice = choose(
        "conv2d_f32f32", frozenset({"neon"}), lambda row: "too small" if row.isa == "neon" else None
    )
    assert choice.row.isa == "portable"
    assert choice.refused[0] == f"{best.name}: target lacks {best.isa}"
    assert sum(line.endswith(": too small") for line in choice.refused) == sum(
        row.needs == {"neon"} for row in rows
    )


def test_no_row_left_names_every_refusal() -> None:
    with pytest.raises(
        UsageError, match=r"every row of 'conv2d_f32f32' was refused: .*_portable.*: not today"
    ):
        choose("conv2d_f32f32", frozenset(), lambda row: "not today")


def test_an_unknown_op_says_what_to_add() -> None:
    with pytest.raises(UsageError, match=r"no row has op 'conv9d_f32f32'; add one to a kernels\.toml"):
        rows_of("conv9d_f32f32")


FAMILY = KernelFamily(
    "made_up",
    "",
    families()["conv2d"].folder,
    (
        Param("size", "i32", 2, True),
        Param("alpha", "f32", 1, False),
        Param("activation", "i32", 1, False, "activation"),
    ),
    (),
    (),
    (),
)


def test_params_are_a_c_struct() -> None:
    packed = FAMILY.pack_params({"size": [7], "alpha": 0.5, "activation": "relu"})
    assert packed == struct.pack("<2ifi", 7, 0, 0.5, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": [1, 2], "alpha": 0.0}, "'activation' has no value"),
        ({"size": [1, 2, 3], "alpha": 0.0, "activation": "relu"}, "size holds 2 values, got 3"),
        ({"size": [], "alpha": 0.0, "activation": "rule"}, "activation='rule' is not one of none, relu"),
        ({"size": [], "alpha": 0.0, "activation": "relu", "beta": 1}, "have no field beta"),
    ],
)
def test_params_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"kernels/made_up: .*{message}"):
        FAMILY.pack_params(values)

"""What the templates render: a few goldens, the dialect's strictness, and the list of sources."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from tiercast.codegen.render import LIBRARY, _environment, render, render_row, selected_rows, sources
from tiercast.errors import UsageError
from tiercast.kernel import Row, families
from tiercast.target import find_target, targets

GOLDEN = Path(__file__).parent / "golden"
# One of each kind of generated file, of ops that change seldom.
# `pytest tests/codegen --update-goldens` renews them.
SELECTED = frozenset({"softmax_f32f32_neon", "trilu_anyany_portable"})
FILES = (
    "library.cc",
    "softmax_params.h",
    "softmax_check.cc",
    "softmax_f32f32_neon.cc",
    "trilu_anyany_portable.cc",
)
ROWS = [row for family in families().values() for row in family.rows]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render(find_target("linux-arm64"), folder, only=SELECTED)
    return folder


@pytest.mark.parametrize("file", FILES)
def test_rendered_files_are_as_the_goldens(rendered: Path, file: str, request: pytest.FixtureRequest) -> None:
    text, golden = (rendered / file).read_text(), GOLDEN / f"{file}.golden"
    if request.config.getoption("--update-goldens"):
        golden.write_text(text)
    assert text == golden.read_text(), "meant? pytest tests/codegen --update-goldens"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_renders_to_its_kernel(row: Row) -> None:
    text = render_row(row)
    assert f"TC_KERNEL({row.name}," in text
    assert "${" not in text and "//%" not in text and "//#" not in text


def test_an_undefined_variable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.j2").write_text(
        "//% for i in range(2)\n${i} /* {{ C stays C }} */ ${missing}\n//% endfor\n"
    )
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        _environment(tmp_path).get_template("x.j2").render()


@pytest.mark.parametrize("name", sorted(targets()))
def test_the_list_names_every_file_that_is_written(name: str, tmp_path: Path) -> None:
    target = find_target(name)
    written = {path.name for path in render(target, tmp_path)}
    assert written == {source.path for source in sources(target)}
    assert len(sources(target)) == len(written)


def test_sources_carry_the_flags_of_their_instruction_set() -> None:
    flags = {source.path: source.flags for source in sources(find_target("linux-armv7"))}
    assert flags["softmax_f32f32_neon.cc"] == ("-mfpu=neon-vfpv4",)
    assert flags["softmax_f32f32_portable.cc"] == ()
    assert not any("avx" in path for path in flags)


def test_rendering_again_touches_nothing(rendered: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in rendered.iterdir()}
    render(find_target("linux-arm64"), rendered, only=SELECTED)
    assert before == {path.name: path.stat().st_mtime_ns for path in rendered.iterdir()}


def test_a_selected_library_keeps_portable_as_fallback() -> None:
    rows = selected_rows(find_target("linux-arm64"), frozenset({"softmax_f32f32_neon"}))
    assert [row.name for row in rows] == ["softmax_f32f32_neon", "softmax_f32f32_portable"]


def test_a_selected_library_of_unknown_rows_names_them() -> None:
    with pytest.raises(UsageError, match="linux-arm64 has no rows softmax_f32f32_avx9"):
        selected_rows(find_target("linux-arm64"), frozenset({"softmax_f32f32_avx9"}))


def test_one_op_folder_can_be_rendered_alone(tmp_path: Path) -> None:
    target = find_target("linux-arm64")
    assert {path.name for path in render(target, tmp_path, op=LIBRARY)} == {"library.cc", "tc_enums.h"}
    softmax = {path.name for path in render(target, tmp_path, op="softmax")}
    assert softmax == {source.path for source in sources(target) if source.op == "softmax"}

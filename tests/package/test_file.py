"""Package files: what is written is read back; damage is found; a failed write leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.errors import PackageError
from tiercast.lower.plan import Plan, Port, Step, Tensor
from tiercast.package import file
from tiercast.package.file import encode, read_package, read_plans, write_package

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
DTYPES = st.sampled_from(["f32", "f16", "s8", "u8", "s32", "s64", "bool"])
DIMS = st.lists(st.integers(1, 1 << 30), max_size=8).map(tuple)
SIZES = st.integers(0, 1 << 50)


def tensors() -> st.SearchStrategy[Tensor]:
    places = st.sampled_from(["arena", "weights", "input", "output", "prepared"])
    perm = st.lists(st.integers(0, 7), max_size=8).map(tuple)
    return st.builds(Tensor, NAMES, DTYPES, DIMS, DIMS, places, SIZES, st.integers(0, 9), NAMES, perm)


def steps() -> st.SearchStrategy[Step]:
    operands = st.lists(st.integers(-1, 99), max_size=4).map(tuple)
    refused = st.lists(NAMES, max_size=2).map(tuple)
    return st.builds(
        Step, NAMES, NAMES, NAMES, refused, operands, operands, st.binary(max_size=24), SIZES, SIZES
    )


def plans() -> st.SearchStrategy[Plan]:
    ports = st.lists(st.builds(Port, NAMES, DTYPES, DIMS), max_size=3)
    return st.builds(
        Plan,
        target=NAMES,
        tensors=st.lists(tensors(), max_size=4),
        steps=st.lists(steps(), max_size=4),
        inputs=ports,
        outputs=ports,
        arena_bytes=SIZES,
        weights=st.binary(max_size=200),
        prepare=st.lists(steps(), max_size=2),
        prepared_bytes=SIZES,
        facts=st.dictionaries(NAMES, NAMES, max_size=3),
    )


def small_plan() -> Plan:
    return Plan("host", inputs=[Port("x", "f32", (2, 3))], weights=bytes(range(256)) * 40)


@given(plans())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    path = tmp_path_factory.mktemp("package") / "x.tcpkg"
    assert read_package(write_package(plan, path)) == plan


@given(st.lists(plans(), min_size=1, max_size=3))
def test_plans_of_one_package_share_their_weights(
    tmp_path_factory: pytest.TempPathFactory, buckets: list[Plan]
) -> None:
    for plan in buckets:
        plan.weights = buckets[0].weights
    path = write_package(buckets, tmp_path_factory.mktemp("package") / "x.tcpkg")
    found = read_plans(path)
    assert list(found) == buckets and all(plan.weights is found[0].weights for plan in found)
    if len(buckets) > 1:
        with pytest.raises(
            PackageError, match=rf"holds {len(buckets)} shape buckets, and one is wanted here: 0:"
        ):
            read_package(path)


def test_plans_of_different_weights_are_no_package() -> None:
    with pytest.raises(ValueError, match="share one weights segment"):
        encode([Plan("host", weights=b"a"), Plan("host", weights=b"b")])


def test_weights_begin_on_a_page_of_every_device() -> None:
    data = encode(small_plan())
    weights_at = int.from_bytes(data[32:40], "little")
    assert weights_at % 16384 == 0 and data[weights_at:] == small_plan().weights


@given(st.data())
def test_a_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(encode(small_plan()))
    position = data.draw(st.one_of(st.integers(0, 400), st.integers(0, len(content) - 1)))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("package") / "x.tcpkg"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"not a Tiercast package|damaged|format version"):
        read_package(path)


@given(st.integers(0, 10**9))
def test_a_truncated_file_is_found(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    content = encode(small_plan())
    path = tmp_path_factory.mktemp("package") / "x.tcpkg"
    path.write_bytes(content[: length % len(content)])
    with pytest.raises(PackageError, match=r"not a Tiercast package|truncated"):
        read_package(path)


def test_an_older_or_newer_format_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "VERSION", 99)
    path = write_package(small_plan(), tmp_path / "x.tcpkg")
    monkeypatch.undo()
    with pytest.raises(PackageError, match="format version 99, this Tiercast reads 2"):
        read_package(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"can't read .*none\.tcpkg: No such file"):
        read_package(tmp_path / "none.tcpkg")


def test_output_in_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"can't write .*: .* choose a writable --output"):
        write_package(small_plan(), tmp_path / "file" / "x.tcpkg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PackageError, match=r"Permission denied"):
        write_package(small_plan(), tmp_path / "x.tcpkg")


def test_a_full_disk_leaves_the_old_package(tmp_path: Path) -> None:
    path = write_package(Plan("old"), tmp_path / "x.tcpkg")
    script = """
        import resource, signal, sys
        from pathlib import Path
        from tiercast.errors import PackageError
        from tiercast.lower.plan import Plan
        from tiercast.package.file import write_package
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # like a full disk, the write then fails with an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            write_package(Plan("new", weights=bytes(100000)), Path(sys.argv[1]))
        except PackageError as error:
            sys.exit(str(error))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True
    )
    assert done.returncode == 1 and f"can't write {path}" in done.stderr and "enough space" in done.stderr
    assert os.listdir(tmp_path) == ["x.tcpkg"]
    assert read_package(path).target == "old"


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_killed_while_writing_leaves_no_half_package(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "x.tcpkg"
    script = """
        import os, sys, time
        from pathlib import Path
        from tiercast.lower.plan import Plan
        from tiercast.package import file
        def hang(*_):
            print("here", flush=True)
            time.sleep(60)
        moment = sys.argv[2]
        if moment == "write":
            os.fdopen = hang  # the temporary file exists, and is empty
        else:
            setattr(os, moment, hang)
        file.write_package(Plan("new", weights=bytes(100000)), Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert write_package(small_plan(), path) == path and read_package(path) == small_plan()

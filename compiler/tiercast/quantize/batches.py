"""Calibration and evaluation data: pictures, arrays, folders of either, checked before anything is
measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiercast.errors import UsageError
from tiercast.inputs import PICTURES, read_archive, read_input
from tiercast.lower.plan import NUMPY_DTYPES, Port

_FILES = (".npy", ".npz", *PICTURES)
Arrays = dict[str, np.ndarray]
Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Data:
    """Samples to run a model on.

    batches: of each sample the model's inputs by name. truths: of each what the outputs should be (by output
    name; empty without). source: where they come from; sha256: of all arrays, in order.
    """

    batches: tuple[Arrays, ...]
    truths: tuple[Arrays, ...]
    source: str
    sha256: str


def read_data(path: Path, ports: Sequence[Port], outputs: Sequence[str], pixels: tuple[float, float]) -> Data:
    """Reads samples for a model's inputs.

    path: an .npz of arrays by input name, of an input's shape or of several samples one after another along
    its first axis (arrays named like an output are truths); a folder of such .npz files; a folder of pictures
    or .npy files for a model with one input; or a folder with such a folder for each input, whose sorted
    files belong together. pixels: what 0..255 of pictures becomes. UsageError when there is nothing, or what
    is there can't serve, or is not finite.
    """
    found = list(_read(path, ports, outputs, pixels))
    batches = [{port.name: sample[port.name] for port in ports} for sample in found]
    truths = [{name: sample[name] for name in outputs if name in sample} for sample in found]
    return checked(batches, ports, str(path), truths)


def checked(
    batches: Sequence[Mapping[str, np.ndarray]],
    ports: Sequence[Port],
    source: str = "the calibration data",
    truths: Sequence[Mapping[str, np.ndarray]] = (),
) -> Data:
    """Samples given as arrays, once they are found to fit the model: none missing, right shapes, finite."""
    if not batches:
        raise UsageError(f"{source}: there is no sample; quantizing needs inputs as the model will meet them")
    for at, batch in enumerate(batches):
        if set(batch) != {port.name for port in ports}:
            raise UsageError(
                f"{source}: sample {at} holds {', '.join(sorted(batch)) or 'nothing'}; "
                f"the model's inputs are {', '.join(port.name for port in ports)}"
            )
        for port in ports:
            _check_array(batch[port.name], port, NUMPY_DTYPES[port.dtype], f"{source}: sample {at}")
    floats = [port.name for port in ports if port.dtype == "f32"]
    if floats and not any(_varies([batch[name] for batch in batches]) for name in floats):
        raise UsageError(
            f"{source}: each float input is one constant in all {len(batches)} samples; "
            "no range can be measured on that"
        )
    digest = hashlib.sha256()
    for batch in batches:
        for port in ports:
            digest.update(np.ascontiguousarray(batch[port.name]).tobytes())
    empty: tuple[Arrays, ...] = tuple({} for _ in batches)
    kept = tuple(dict(truth) for truth in truths) or empty
    return Data(tuple(dict(batch) for batch in batches), kept, source, digest.hexdigest())


def _varies(arrays: Sequence[np.ndarray]) -> bool:
    first = arrays[0].flat[0]
    return any(bool((data != first).any()) for data in arrays)


def _check_array(data: np.ndarray, port: Port, kind: np.dtype, where: str) -> None:
    if data.dtype != kind or data.shape != tuple(port.dims):
        raise UsageError(
            f"{where}: input {port.name!r} is {data.dtype} {list(data.shape)}, "
            f"the model takes {kind} {list(port.dims)}"
        )
    if data.size == 0:
        raise UsageError(f"{where}: input {port.name!r} is empty")
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        bad = int(np.count_nonzero(~np.isfinite(data)))
        raise UsageError(
            f"{where}: input {port.name!r} holds {bad} values that are NaN or infinite; remove that sample"
        )


def _read(
    path: Path, ports: Sequence[Port], outputs: Sequence[str], pixels: tuple[float, float]
) -> Iterator[Arrays]:
    if not path.exists():
        raise UsageError(f"--calib {path}: there is no such file or folder")
    if path.is_file():
        yield from _archive(path, ports, outputs) if path.suffix == ".npz" else [_single(path, ports, pixels)]
        return
    folders = {port.name: path / port.name for port in ports}
    if all(folder.is_dir() for folder in folders.values()):
        yield from _side_by_side(path, folders, ports, pixels)
        return
    files = _files(path)
    if not files:
        raise UsageError(
            f"--calib {path}: the folder holds neither {', '.join(_FILES)} files nor a folder for each input "
            f"({', '.join(folders)})"
        )
    for file in files:
        yield from _archive(file, ports, outputs) if file.suffix == ".npz" else [_single(file, ports, pixels)]


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in _FILES)


def _single(file: Path, ports: Sequence[Port], pixels: tuple[float, float]) -> Arrays:
    if len(ports) != 1:
        raise UsageError(
            f"--calib: {file} serves one input, and the model has {len(ports)} "
            f"({', '.join(port.name for port in ports)}); "
            "give .npz files with an array for each, or a folder of files for each, called like the input"
        )
    return {ports[0].name: read_input(file, ports[0], pixels)}


def _side_by_side(
    path: Path, folders: Mapping[str, Path], ports: Sequence[Port], pixels: tuple[float, float]
) -> Iterator[Arrays]:
    files = {name: _files(folder) for name, folder in folders.items()}
    counts = {name: len(found) for name, found in files.items()}
    if len(set(counts.values())) != 1:
        raise UsageError(f"--calib {path}: the inputs' folders hold different numbers of files: {counts}")
    for at in range(min(counts.values())):
        yield {port.name: read_input(files[port.name][at], port, pixels) for port in ports}


def _archive(file: Path, ports: Sequence[Port], outputs: Sequence[str]) -> Iterator[Arrays]:
    """The samples of an .npz: each input's array is cut along its first axis into pieces of its shape."""
    arrays = read_archive(file)
    missing = [port.name for port in ports if port.name not in arrays]
    if missing:
        raise UsageError(
            f"--calib {file}: there is no array {', '.join(missing)}; "
            f"it holds {', '.join(arrays) or 'nothing'}"
        )
    counts = {}
    for port in ports:
        data, dims = arrays[port.name], tuple(port.dims)
        fits = (
            data.ndim == len(dims)
            and data.shape[1:] == dims[1:]
            and dims[:1]
            and data.shape[0] % max(dims[0], 1) == 0
        )
        counts[port.name] = data.shape[0] // dims[0] if fits and data.shape != dims else 1
    if len(set(counts.values())) != 1:
        raise UsageError(f"--calib {file}: the inputs hold different numbers of samples: {counts}")
    count = next(iter(counts.values()))
    if count == 0:
        raise UsageError(f"--calib {file}: its arrays are empty")
    truths = {name: arrays[name] for name in outputs if name in arrays and len(arrays[name]) % count == 0}
    for at in range(count):
        yield {name: _piece(data, at, count) for name, data in truths.items()} | {
            port.name: _piece(arrays[port.name], at, count) for port in ports
        }


def _piece(data: np.ndarray, at: int, count: int) -> np.ndarray:
    if count == 1:
        return data
    size = len(data) // count
    return np.ascontiguousarray(data[at * size : (at + 1) * size])

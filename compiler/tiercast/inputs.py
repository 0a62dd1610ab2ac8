"""Arrays for a package's inputs: seeded random ones, or read from .npy, .npz and picture files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tiercast.errors import UsageError
from tiercast.ir.dtypes import BY_NAME
from tiercast.lower.plan import Port

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def random_inputs(ports: Sequence[Port], seed: int = 0) -> dict[str, np.ndarray]:
    """One array for each port, from a seed: floats uniform in -1..1, integers 0 or 1, booleans either."""
    random = np.random.default_rng(seed)
    return {port.name: _random(random, port) for port in ports}


def read_input(path: Path, port: Port, pixels: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """The array in a file for one input.

    .npy holds it; .npz holds it under the input's name, or alone; a picture is resized (bilinear) to an input
    [1, C, H, W] or [1, H, W, C] with 1 or 3 channels, and its values 0..255 become `pixels[0]..pixels[1]`
    (for u8: stay).
    Raises UsageError when the file can't be read or can't serve the input.
    """
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".npz":
            return _from_archive(path, port)
        if path.suffix.lower() in PICTURES:
            return _from_picture(path, port, pixels)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"input {port.name!r}: {path} can't be read: {error}") from error
    raise UsageError(f"input {port.name!r}: {path} is none of .npy, .npz, {', '.join(PICTURES)}")


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz by name; UsageError when it can't be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error


def to_picture(array: np.ndarray) -> np.ndarray | None:
    """u8 [H, W] or [H, W, 3] of a float array [1, 1, H, W] or [1, 3, H, W] in 0..1 (clipped).

    None for another shape.
    """
    if array.ndim != 4 or array.shape[0] != 1 or array.shape[1] not in (1, 3) or array.dtype != np.float32:
        return None
    pixels: np.ndarray = np.clip(np.rint(array[0].transpose(1, 2, 0) * 255), 0, 255).astype(np.uint8)
    return pixels[..., 0] if array.shape[1] == 1 else pixels


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes u8 [H, W] or [H, W, 3] (RGB) in the format of the suffix.

    UsageError when it can't be written.
    """
    try:
        _pillow().fromarray(pixels).save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be written: {error}") from error


def _random(random: np.random.Generator, port: Port) -> np.ndarray:
    kind = BY_NAME[port.dtype]
    if kind.is_floating_point():
        return random.uniform(-1, 1, port.dims).astype(kind.numpy())
    return random.integers(0, 2, port.dims).astype(kind.numpy())


def _from_archive(path: Path, port: Port) -> np.ndarray:
    arrays = read_archive(path)
    if port.name in arrays:
        return arrays[port.name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise UsageError(f"input {port.name!r}: {path} holds {', '.join(arrays) or 'nothing'}")


def _from_picture(path: Path, port: Port, pixels: tuple[float, float]) -> np.ndarray:
    if len(port.dims) != 4 or port.dims[0] != 1 or port.dtype not in ("f32", "u8"):
        raise UsageError(
            f"input {port.name!r} of {port.dtype} {port.dims} takes no picture; give an .npy file"
        )
    first = port.dims[1] in (1, 3)
    channels, height, width = port.dims[1:] if first else (port.dims[3], port.dims[1], port.dims[2])
    if channels not in (1, 3):
        raise UsageError(
            f"input {port.name!r} of shape {port.dims} has neither 1 nor 3 channels; give an .npy file"
        )
    pillow = _pillow()
    picture = (
        pillow.open(path)
        .convert("L" if channels == 1 else "RGB")
        .resize((width, height), pillow.Resampling.BILINEAR)
    )
    values = np.asarray(picture).reshape(1, height, width, channels)
    values = np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if first else values
    if port.dtype == "u8":
        return values
    low, high = pixels
    return (values.astype(np.float32) / 255 * (high - low) + low).astype(np.float32)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UsageError("pictures need Pillow: pip install pillow (or give .npy files)") from None
    return Image

"""External data of ONNX files: weights beside the model, mapped rather than read."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from tiercast.errors import ModelError
from tiercast.ir.weights import tensor_bytes


def map_external(tensor: onnx.TensorProto, folder: Path, origin: str) -> ir.TensorProtocol:
    """The tensor over its file in `folder`; its data is mapped when somebody looks at it.

    ModelError when the file is missing, too short or outside of the folder, naming the tensor and the file.
    """
    where = f"{origin}: the external data of initializer {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    offset, length = (_number(entries, key, where) for key in ("offset", "length"))
    path = _inside(location, folder, where)
    needed = tensor_bytes(tensor)
    if length is not None and length != needed:
        raise ModelError(f"{where} is {length} bytes long, its shape {list(tensor.dims)} needs {needed}")
    size = path.stat().st_size
    if (offset or 0) + needed > size:
        raise ModelError(
            f"{where} lies at bytes {offset or 0}..{(offset or 0) + needed} of {location}, which has {size}: "
            "the file is cut short, copy it again"
        )
    return ir.ExternalTensor(
        location,
        offset,
        needed,
        ir.DataType(tensor.data_type),
        shape=ir.Shape(tensor.dims),
        name=tensor.name,
        base_dir=folder,
    )


def _number(entries: dict[str, str], key: str, where: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not text.isdecimal() or int(text) >= 1 << 63:
        raise ModelError(f"{where} has {key} {text!r}, which is no number of bytes")
    return int(text)


def _inside(location: str, folder: Path, where: str) -> Path:
    """The regular file of that name in the folder, links followed; ModelError for any other place."""
    if not location or "\0" in location:
        raise ModelError(f"{where} names no file")
    if PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute():
        raise ModelError(
            f"{where} is at {location!r}, an absolute path; it must lie beside the model, by a relative one"
        )
    path = folder / location
    home = folder.resolve()
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:  # a name too long, links in a circle
        raise ModelError(f"{where} can't be read from {location!r}: {error}") from error
    if not real.is_relative_to(home):
        raise ModelError(f"{where} is at {location!r}, outside of the model's folder {home}")
    if not real.exists():
        raise ModelError(f"{where} should be in {path}, which does not exist; copy it beside the model")
    if not real.is_file():
        raise ModelError(f"{where} should be in {path}, which is not a file")
    try:
        real.open("rb").close()
    except OSError as error:
        raise ModelError(f"{where}: {path} can't be read: {error.strerror}") from error
    return path

"""The reference models as ONNX files: `build/models/<name>.onnx`, made once per state of the sources.

python -m benchmarks.models.export_onnx [NAME ...]
"""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import sys
import warnings
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / "build" / "models"
OPSET = 23
KEY_PROPERTY = "benchmark_sources"
_SHARED_SOURCES = ("entry.py", "export_onnx.py", "inpaint.py", "layers.py", "pictures.py", "seeding.py")


def sources_key(name: str) -> str:
    """Hash of all that decides the export of `name`: its family's source, what all share, torch's version."""
    from . import zoo

    family = Path(sys.modules[type(zoo.ENTRIES[name].make()).__module__].__file__ or "").name
    digest = hashlib.sha256(f"{name} torch {metadata.version('torch')}".encode())
    for file in sorted({family, *_SHARED_SOURCES}):
        digest.update(code_only(Path(__file__).parent / file))
    return digest.hexdigest()


def code_only(path: Path) -> bytes:
    """A Python file without its comments and layout, so that reformatting makes nothing stale."""
    return ast.dump(ast.parse(path.read_text())).encode()


def onnx_path(name: str) -> Path:
    """Path of the ONNX export of a model (opset 23, static shapes, weights inside); exports it if stale.

    Raises ValueError for an unknown name.
    """
    from . import zoo

    if name not in zoo.ENTRIES:
        zoo.build(name)  # says which names there are
    path, key = CACHE / f"{name}.onnx", sources_key(name)
    if not path.exists() or _stored_key(path) != key:
        _export(name, path, key)
    return path


def _stored_key(path: Path) -> str | None:
    import onnx

    properties = onnx.load(path, load_external_data=False).metadata_props
    return next((entry.value for entry in properties if entry.key == KEY_PROPERTY), None)


def _export(name: str, path: Path, key: str) -> None:
    import torch

    from . import zoo

    module, inputs = zoo.build(name)
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # it would warn four times that torchvision is absent
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, tuple(inputs.values()), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=list(inputs), output_names=list(zoo.ENTRIES[name].outputs),
        )  # fmt: skip
    assert program is not None
    program.model.metadata_props[KEY_PROPERTY] = key
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    program.save(part, external_data=False)
    part.replace(path)


def main() -> None:
    """Exports the named models, or all."""
    from . import zoo

    for name in sys.argv[1:] or zoo.names():
        print(onnx_path(name))


if __name__ == "__main__":
    main()

"""ncnn, converted by pnnx from TorchScript; half and bf16 storage off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tiercast.peers.engines import Arrays, Subject
from tiercast.peers.pytorch import load_module
from tiercast.peers.subject import read_reference

MODULE = "ncnn"
PACKAGES = ("torch", "ncnn", "pnnx")
FILES = ("model.ncnn.param", "model.ncnn.bin")
# With lightmode (the default) 1.0.20261020 crashes where an input has many consumers; off, blobs live longer.
NO_LIGHTMODE = {"inpaint"}
_TYPES = {"f": "f32", "i": "i64", "b": "bool"}


def convert(subject: Subject, folder: Path) -> None:
    """TorchScript trace, or ONNX where there is no more -> pnnx.

    Raises RuntimeError where pnnx left an operator it could not translate, and for int8.
    """
    if subject.calibration:
        raise RuntimeError("int8 needs ncnn2table and ncnn2int8, programs that ncnn's wheel does not hold")
    source = _trace(subject, folder) if subject.torch else subject.onnx
    inputs, _, _ = read_reference(subject.folder)
    shapes = ",".join(
        f"[{','.join(map(str, value.shape))}]{_TYPES[value.dtype.kind]}" for value in inputs.values()
    )
    pnnx = Path(sys.executable).parent / "pnnx"
    # its files are named after the source: a link makes them ours
    link = folder / f"model{source.suffix}"
    if link != source:
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
    subprocess.run(
        [pnnx, link.name, f"inputshape={shapes}", "fp16=0", "optlevel=2"], cwd=folder, check=True, timeout=300
    )
    foreign = ("pnnx.", "aten::", "prim::", "F.", "nn.", "Tensor.", "torch.")
    left = [
        line.split()[0] for line in (folder / FILES[0]).read_text().splitlines() if line.startswith(foreign)
    ]
    if left:
        raise RuntimeError(f"pnnx left untranslated operators: {', '.join(sorted(set(left)))}")


def _trace(subject: Subject, folder: Path) -> Path:
    import torch

    module, inputs = load_module(subject)
    script = folder / "model.pt"
    torch.jit.trace(module, inputs, check_trace=False).save(str(script))  # type: ignore[no-untyped-call]
    return script


class Engine:
    """One extractor per call; ncnn has no batch axis, so a leading 1 is dropped.

    half: f16 where the CPU has it.
    """

    def __init__(
        self, folder: Path, inputs: Arrays, expected: Arrays, threads: int, half: bool = False
    ) -> None:
        import ncnn

        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads, options.use_vulkan_compute = threads, False
        options.lightmode = folder.parent.name not in NO_LIGHTMODE
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = half
        options.use_bf16_storage = False
        if self._net.load_param(str(folder / FILES[0])) or self._net.load_model(str(folder / FILES[1])):
            raise RuntimeError("ncnn refused to load the model")
        # a Mat does not own its array
        self._arrays = [
            np.ascontiguousarray(value[0] if value.shape[0] == 1 else value) for value in inputs.values()
        ]
        self._inputs = [(f"in{index}", ncnn.Mat(value)) for index, value in enumerate(self._arrays)]
        self._expected = expected
        self._results: list[object] = []

    def __call__(self) -> None:
        extractor = self._net.create_extractor()
        for name, mat in self._inputs:
            extractor.input(name, mat)
        self._results = []
        for index in range(len(self._expected)):
            status, mat = extractor.extract(f"out{index}")
            if status:
                raise RuntimeError(f"ncnn: extracting out{index} returned {status}")
            self._results.append(mat)

    def outputs(self) -> Arrays:
        """pnnx numbers outputs in the model's order."""
        return {name: np.array(mat) for name, mat in zip(self._expected, self._results, strict=True)}

"""ExecuTorch with the XNNPACK delegate; what that refuses runs on its portable kernels."""

from __future__ import annotations

from pathlib import Path

from tiercast.peers.engines import Arrays, Subject
from tiercast.peers.pytorch import load_program, quantize_program

MODULE = "executorch.extension.pybindings.portable_lib"
PACKAGES = ("torch", "executorch", "torchao", "ruamel.yaml")
FILES = ("model.pte",)


def convert(subject: Subject, folder: Path) -> None:
    """PyTorch -> exported program -> .pte; int8 by XNNPACK's quantizer, weights by channel."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    if subject.calibration:
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack

        scheme = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
        program = quantize_program(subject, xnnpack.XNNPACKQuantizer().set_global(scheme))
    else:
        program = load_program(subject)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / FILES[0]).write_bytes(lowered.to_executorch().buffer)


class Engine:
    """`forward` of the loaded program; its thread pool is the process's."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib

        torch.set_num_threads(1)
        portable_lib._unsafe_reset_threadpool(threads)
        if portable_lib._threadpool_get_thread_count() != threads:
            raise RuntimeError(f"its thread pool does not take {threads} threads")
        self._module = portable_lib._load_for_executorch(str(folder / FILES[0]))
        self._inputs = [torch.from_numpy(value) for value in inputs.values()]
        self._names = list(expected)
        self._results: list[torch.Tensor] = []

    def __call__(self) -> None:
        self._results = self._module.forward(self._inputs)

    def outputs(self) -> Arrays:
        """In the program's order."""
        return {name: value.numpy() for name, value in zip(self._names, self._results, strict=True)}

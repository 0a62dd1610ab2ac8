"""TorchScript: its interpreter runs the module while torch.export records what it computes.

So loops and branches on shapes are unrolled and taken for the given shapes, and a branch on data, of which a
recording would silently keep one side, is an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch

from tiercast.errors import ModelError, UsageError
from tiercast.frontend.torch.exporter import cause_of, export_program, quiet

DTYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "s8": torch.int8,
    "u8": torch.uint8,
    "s32": torch.int32,
    "s64": torch.int64,
    "bool": torch.bool,
}


def example_arguments(
    script: torch.jit.ScriptModule,
    inputs: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, str],
    origin: str,
) -> dict[str, torch.Tensor]:
    """Seeded random tensors for the forward's arguments, of the given shapes and types (f32 by default).

    UsageError names the arguments whose shapes are missing, or names that are no arguments.
    """
    tensors = _tensor_arguments(script, origin)
    for name in (*inputs, *dtypes):
        if name not in tensors:
            raise UsageError(
                f"{origin}: there is no input {name!r}; forward's tensors are {', '.join(tensors) or 'none'}"
            )
    missing = [name for name, needed in tensors.items() if needed and name not in inputs]
    if missing:
        flags = " ".join(f"--input {name}:1x3x256x256" for name in missing)
        raise UsageError(
            f"{origin}: TorchScript holds no input shapes; give those of {', '.join(missing)}, e.g. {flags} "
            f"(and the element type where it is not f32: --input {missing[0]}:1x16:s64)"
        )
    generator = torch.Generator().manual_seed(0)
    return {
        name: _random(inputs[name], dtypes.get(name, "f32"), generator) for name in tensors if name in inputs
    }


def export_script(
    script: torch.jit.ScriptModule, args: tuple[Any, ...], kwargs: dict[str, Any], origin: str
) -> torch.export.ExportedProgram:
    """The module as a graph of ATen operators, on inputs like the given ones; it is left as it is.

    Raises ModelError for a branch or a loop on input data, naming its line, and for whatever else PyTorch
    can't record.
    """
    try:
        with quiet():
            frozen = torch.jit.freeze(script.eval())
    except Exception as error:
        raise ModelError(f"{origin}: TorchScript can't freeze the module: {cause_of(error)}") from error
    names = [argument.name for argument in _arguments(script)]
    named = dict(zip(names, args, strict=False)) | kwargs
    try:
        return export_program(_recorder(frozen, list(named)), tuple(named.values()), {}, origin)
    except ModelError as error:
        _refuse(script, named, error, origin)


def _refuse(
    script: torch.jit.ScriptModule, named: dict[str, Any], error: ModelError, origin: str
) -> NoReturn:
    """Says why a script can't be recorded: PyTorch can't run it, it looks at data, or another reason."""
    try:
        with quiet(), torch.no_grad():
            script(**named)
    except Exception as failure:
        sizes = ", ".join(f"{name}:{list(value.shape)} {value.dtype}" for name, value in named.items())
        raise ModelError(
            f"{origin}: PyTorch can't run the module on {sizes}: {cause_of(failure)} (at {_line_of(failure)})"
        ) from failure
    line, text = _line_of(error), _whole_text(error)
    if "data-dependent" in text or "DataDependent" in text:
        raise ModelError(
            f"{origin}: a branch or loop depends on input data, at {line}; a plan computes the same steps "
            "for every input, so compute both sides and choose with torch.where"
        ) from error
    raise ModelError(f"{origin}: TorchScript can't be recorded at {line}: {cause_of(error)}") from error


def _recorder(frozen: torch.jit.ScriptModule, names: list[str]) -> torch.nn.Module:
    """A module whose forward has the given argument names, which become those of the program's inputs."""

    def forward(self: Any, *args: Any) -> Any:
        return frozen(**dict(zip(names, args, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made: torch.nn.Module = type("Recorder", (torch.nn.Module,), {"forward": forward})()
    return made


def _arguments(script: torch.jit.ScriptModule) -> list[Any]:
    """What forward takes, without self, as TorchScript's schema says."""
    forward: Any = script.forward
    return list(forward.schema.arguments[1:])


def _tensor_arguments(script: torch.jit.ScriptModule, origin: str) -> dict[str, bool]:
    """The tensors of forward by name, and whether it needs them."""
    found = {}
    for argument in _arguments(script):
        kind = str(argument.type)
        if kind in ("Tensor", "Optional[Tensor]"):
            found[argument.name] = kind == "Tensor" and not argument.has_default_value()
        elif not argument.has_default_value():
            raise ModelError(
                f"{origin}: forward's argument {argument.name!r} is a {kind}; only tensors can be inputs, "
                "and others need a default"
            )
    return found


def _random(shape: Sequence[int], dtype: str, generator: torch.Generator) -> torch.Tensor:
    if dtype in ("f32", "f16"):
        return (torch.rand(tuple(shape), generator=generator) * 2 - 1).to(DTYPES[dtype])
    return torch.randint(0, 2, tuple(shape), generator=generator).to(DTYPES[dtype])


def _line_of(error: BaseException) -> str:
    """The innermost line of the user's code that TorchScript's traceback in a chain of errors points at."""
    lines = _whole_text(error).splitlines()
    places = []
    for number, line in enumerate(lines):
        if "<--- HERE" in line and number:
            files = [item.strip() for item in lines[:number] if item.strip().startswith("File ")]
            places.append(": ".join([*files[-1:], lines[number - 1].strip()]))
    own = [place for place in places if "/torch/nn/" not in place]
    return (own or places or ["an unknown line"])[-1]


def _whole_text(error: BaseException) -> str:
    found: BaseException | None = error
    texts = []
    while found is not None:
        texts.append(str(found))
        found = found.__cause__
    return "\n".join(texts)

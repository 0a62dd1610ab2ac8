"""Errors a user can meet. Each message says where, which values, which rule, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class TiercastError(Exception):
    """Anything Tiercast refuses to do; `str(error)` is meant for the user."""


class UsageError(TiercastError):
    """A wrong argument: unknown name, shape, dtype, target or option."""


class ModelError(TiercastError):
    """The user's model can't be read or compiled."""


class GraphError(ModelError):
    """A node breaks a rule of its operator or of the stage it stands in."""


class UnsupportedError(GraphError):
    """Operators that nothing here computes; `missing`: operator -> names of its nodes.

    origin: how errors name the source ("onnx:seg.onnx"). reasons: of operators that are known in other forms.
    """

    def __init__(
        self, missing: Mapping[str, Sequence[str]], origin: str = "", reasons: Mapping[str, str] | None = None
    ) -> None:
        self.missing = missing
        told = {op: f" ({why})" for op, why in (reasons or {}).items() if why}
        lines = [f"  {op}: {_some(names)}{told.get(op, '')}" for op, names in sorted(missing.items())]
        super().__init__(
            f"{origin}{': ' if origin else ''}{len(missing)} operator(s) of the model are not supported:\n"
            + "\n".join(lines)
            + "\nReplace them in the model, or add them as ops of your own (--ops FOLDER, docs/adding.md); "
            "some TVM can write (--tvm); "
            "`tiercast check` tells the nearest rewrites."
        )


class PackageError(TiercastError):
    """A .tcpkg can't be read, verified, bound, written or run."""


class ToolchainError(TiercastError):
    """A compiler, emulator or library that is needed is missing or failed."""


class VerifyError(TiercastError):
    """A package's outputs differ from its model's by more than the tolerance."""


class ContractError(TiercastError):
    """No choice of layers on integers keeps what was asked for; the message says what the best ones do."""


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")

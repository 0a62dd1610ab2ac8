"""Apache TVM as an emitter of C: a small ONNX model becomes functions on plain pointers. `tvm.py` starts it.

The only file that imports tvm.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tiercast.codegen.tvm import READY
from tiercast.errors import ToolchainError

_MATH_H = ("fabs", "erf", "round", "nearbyint", "trunc", "log10", "log1p", "asinh", "acosh", "atanh")


def _serve() -> None:
    """Reads a request a line, writes an answer a line. What TVM prints goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(text: dict[str, Any]) -> None:
        answers.write(json.dumps(text) + "\n")
        answers.flush()

    try:
        _teach_c()
        _self_test()
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        return
    answer(READY)
    for line in sys.stdin:
        try:
            answer(_emit(Path(json.loads(line)["model"])))
        except Exception as error:  # TVM raises anything
            lines = [text.strip() for text in str(error).splitlines() if text.strip()]
            answer({"error": f"{type(error).__name__}: {lines[-1] if lines else ''}"})


def _teach_c() -> None:
    """Says how C calls the functions of math.h for which TVM's C back end has no rule."""
    from tvm import tirx

    def call(expression: Any) -> Any:
        name = f"{expression.op.name.rpartition('.')[2]}f"
        return tirx.call_pure_extern("float32", name, *expression.args)

    for name in _MATH_H:
        tirx.register_intrin_lowering(f"tirx.{name}", target="c", f=call, level=99)


def _self_test() -> None:
    """Emits a multiplication and serialises it, which a wrong pair of packages does not survive."""
    import onnx
    import tvm
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "x"], ["y"])], "test", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(model, file.name)
        lowered = _lowered(Path(file.name))
    tvm.ir.load_json(tvm.ir.save_json(lowered))
    if "x[" not in str(_source(lowered)):
        raise ToolchainError("it emits no C")


def _emit(path: Path) -> dict[str, Any]:
    lowered = _lowered(path)
    plan = _Plan()
    plan.walk(lowered["main"])
    return {
        "source": _source(lowered),
        "calls": plan.calls,
        "storage": plan.storage,
        "constants": plan.constants,
    }


def _lowered(path: Path) -> Any:
    """The model as a module of loop nests and a straight line of calls in planned memory."""
    import warnings

    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    warnings.simplefilter("ignore")
    passes = relax.transform
    with tvm.target.Target({"kind": "c"}):
        return tvm.transform.Sequential(
            [
                passes.DecomposeOpsForInference(),
                passes.CanonicalizeBindings(),
                passes.FoldConstant(),
                passes.LegalizeOps(),
                passes.AnnotateTIROpPattern(),
                passes.FoldConstant(),
                passes.FuseOps(),
                passes.FuseTIR(),
                passes.DeadCodeElimination(),
                passes.ToNonDataflow(),
                passes.RemovePurityChecking(),
                passes.CallTIRRewrite(),
                passes.StaticPlanBlockMemory(),
                passes.AttachGlobalSymbol(),
            ]
        )(from_onnx(onnx.load(path), keep_params_in_input=False))


def _source(module: Any) -> str:
    """C of the module's loop nests: `int32_t name(T* a, ...)`, the buffers in the order of the PrimFunc."""
    import tvm
    from tvm import tirx

    nests = {name: f for name, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    original = tirx.transform.MakePackedAPI
    # The C pipeline looks the pass up when it runs; ours binds buffers to plain pointers instead.
    tirx.transform.MakePackedAPI = _plain_functions
    try:
        with tvm.transform.PassContext(opt_level=3, config={"tirx.disable_vectorize": True}):
            text = tirx.build(tvm.IRModule(nests), target=tvm.target.Target({"kind": "c"})).inspect_source()
    finally:
        tirx.transform.MakePackedAPI = original
    return str(text)


def _plain_functions() -> Any:
    import tvm
    from tvm import tirx

    @tvm.transform.module_pass(opt_level=0, name="PlainFunctions")  # type: ignore[untyped-decorator]
    def make_plain(module: Any, _context: Any) -> Any:
        made = {
            name: _plain(f, tirx) if isinstance(f, tirx.PrimFunc) and "global_symbol" in f.attrs else f
            for name, f in module.functions.items()
        }
        return tvm.IRModule(made, attrs=module.attrs)

    return make_plain


def _plain(function: Any, tirx: Any) -> Any:
    """The function with a pointer for each buffer. MakePackedAPI leaves alone what has a calling_conv."""
    from tvm.ir import PointerType, PrimType

    params, body = [], []
    for param in function.params:
        if type(param.ty).__name__ != "BufferType":
            params.append(param)
            continue
        kind = getattr(param.ty.dtype, "dtype", param.ty.dtype)
        pointer = tirx.Var(param.name, PointerType(PrimType(str(kind)), "global"))
        body.append(tirx.DeclBuffer(param, data=pointer))
        params.append(pointer)
    inner = tirx.SeqStmt([*body, function.body])
    for key, number in (("device_type", 1), ("device_id", 0)):  # workspaces ask for them
        inner = tirx.AttrStmt("default", key, tirx.IntImm("int32", number), inner)
    # Outside the scope of the workspaces, which are freed behind `inner`.
    whole = tirx.SeqStmt([inner, tirx.Return(tirx.IntImm("int32", 0))])
    made = tirx.PrimFunc(params, whole, PrimType("int32"), function.attrs)
    name = str(function.attrs["global_symbol"])
    facts = {"calling_conv": 2, "global_symbol": name, "tirx.noalias": True}
    return made.with_attrs(facts).without_attr("tirx.is_entry_func")


class _Plan:
    """Reads the straight line of a lowered Relax function: which buffers there are, and the calls on them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[str, int]]]] = []
        self.storage: list[int] = []
        self.constants: list[tuple[str, str]] = []
        self._values: dict[Any, Any] = {}

    def walk(self, function: Any) -> None:
        """Fills `calls`, `storage` and `constants`; ValueError for what a straight line can't hold."""
        from tvm import relax

        for index, param in enumerate(function.params):
            self._values[param] = ("in", index)
        for block in function.body.blocks:
            for binding in block.bindings:
                self._values[binding.var] = self._bound(binding.value)
        result = function.body.body
        value = self._values[result] if isinstance(result, relax.Var) else self._operand(result)
        self._return(value if isinstance(value, list) else [value])

    def _bound(self, value: Any) -> Any:
        from tvm import relax

        if isinstance(value, relax.Var):
            return self._values[value]
        if isinstance(value, relax.Tuple):
            return [self._operand(field) for field in value.fields]
        if isinstance(value, relax.TupleGetItem):
            return self._values[value.tuple_value][value.index]
        if not isinstance(value, relax.Call):
            return self._operand(value)
        return self._call(value)

    def _call(self, value: Any) -> Any:
        import tvm

        if isinstance(value.op, tvm.ir.GlobalVar):
            self.calls.append((value.op.name_hint, [self._operand(arg) for arg in value.args]))
            return None
        name = value.op.name
        if name == "relax.memory.alloc_storage":
            return self._allocate([int(value.args[0].values[0])], 1)
        if name == "relax.memory.alloc_tensor":
            return self._values[value.args[0]]
        if name == "relax.builtin.alloc_tensor":
            kind = str(value.args[1].value)
            return self._allocate([int(dim) for dim in value.args[0].values], _bytes_of(kind))
        if name == "relax.reshape":
            return self._operand(value.args[0])
        if name in ("relax.memory.kill_tensor", "relax.memory.kill_storage"):
            return None
        raise ValueError(f"its plan has {name}")

    def _allocate(self, dims: list[int], element_bytes: int) -> tuple[str, int]:
        size = element_bytes
        for dim in dims:
            size *= dim
        self.storage.append(size)
        return "sto", len(self.storage) - 1

    def _operand(self, value: Any) -> Any:
        import numpy as np
        import tvm
        from tvm import relax

        if isinstance(value, relax.Var):
            return self._values[value]
        if isinstance(value, tvm.ir.GenericConst):
            array = np.ascontiguousarray(value.value.numpy())
            self.constants.append((str(array.dtype), array.tobytes().hex()))
            return "const", len(self.constants) - 1
        raise ValueError(f"an operand is a {type(value).__name__}")

    def _return(self, results: list[tuple[str, int]]) -> None:
        """Results in buffers of their own become the outputs; others are copied there."""
        moved: dict[tuple[str, int], tuple[str, int]] = {}
        for index, value in enumerate(results):
            if value[0] == "sto" and value not in moved:
                moved[value] = ("out", index)
            else:
                self.calls.append(("copy", [value, ("out", index)]))
        calls = [(name, [moved.get(arg, arg) for arg in args]) for name, args in self.calls]
        kept = sorted({index for _, args in calls for place, index in args if place == "sto"})
        numbers = {("sto", index): ("sto", number) for number, index in enumerate(kept)}
        self.calls = [(name, [numbers.get(arg, arg) for arg in args]) for name, args in calls]
        self.storage = [self.storage[index] for index in kept]


def _bytes_of(kind: str) -> int:
    import numpy as np

    return int(np.dtype(kind).itemsize)


if __name__ == "__main__":
    _serve()

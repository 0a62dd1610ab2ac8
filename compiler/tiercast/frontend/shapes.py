"""Input shapes as users give them: `image:1x3x256x256`, or with several sizes, which make shape buckets.

A dimension is a size (256), a list (256,384,512), a range (256..512: doubled from 256, and 512 itself) or a
range with a step (256..512/128: 256, 384, 512); both ends of a range are always sizes of it. Every
combination of sizes is a bucket. Dimensions that the model gives one name have one size at a time.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from tiercast.errors import UsageError

MOST_BUCKETS = 64  # also the runtime's limit of one package
Sizes = int | Sequence[int]
Shapes = Mapping[str, Sequence[Sizes]]
_SYMBOLS = "input symbols"
DTYPES = ("f32", "f16", "s8", "u8", "s32", "s64", "bool")


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[Sizes, ...]]:
    """{"image": (1, 3, (256, 512), 256)} from ["image:1x3x256..512x256"]; UsageError on another form."""
    shapes: dict[str, tuple[Sizes, ...]] = {}
    for text in texts or ():
        name, _, dims = _split_dtype(text)[0].rpartition(":")
        if not name or not dims:
            raise UsageError(
                f"--input {text!r} is not NAME:SHAPE[:DTYPE], for example image:1x3x256x256 or ids:1x16:s64; "
                f"element types are {', '.join(DTYPES)}"
            )
        if name in shapes:
            raise UsageError(
                f"--input gives {name!r} twice; several sizes go into one: image:1x3x256,512x256,512"
            )
        sizes = [_parse_sizes(dim, text) for dim in dims.lower().split("x")]
        shapes[name] = tuple(item[0] if len(item) == 1 else item for item in sizes)
    return shapes


def parse_dtypes(texts: Sequence[str] | None) -> dict[str, str]:
    """{"ids": "s64"} from ["ids:1x16:s64", "x:1x3x8x8"]: of the inputs whose element type is given."""
    found = [_split_dtype(text) for text in texts or ()]
    return {rest.rpartition(":")[0]: dtype for rest, dtype in found if dtype}


def _split_dtype(text: str) -> tuple[str, str]:
    rest, _, last = text.rpartition(":")
    return (rest, last) if last in DTYPES else (text, "")


def first_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The first size of every dimension."""
    return {name: tuple(_sizes(item)[0] for item in dims) for name, dims in shapes.items()}


def has_buckets(shapes: Shapes) -> bool:
    """Whether a dimension has several sizes."""
    return any(len(_sizes(item)) > 1 for dims in shapes.values() for item in dims)


def are_open(shapes: Shapes, symbols: Mapping[str, Sequence[str]]) -> bool:
    """Whether the model itself leaves every dimension open that has several sizes here."""
    return all(
        isinstance(_key(name, axis, symbols), str)
        for name, dims in shapes.items()
        for axis, item in enumerate(dims)
        if len(_sizes(item)) > 1
    )


def expand_shapes(shapes: Shapes, symbols: Mapping[str, Sequence[str]]) -> list[dict[str, tuple[int, ...]]]:
    """The input shapes of every bucket, the last dimension changing fastest.

    symbols: the model's names of each input's dimensions ("" for one without), see `input_symbols`.
    Raises UsageError where one name would have different sizes, and for more than MOST_BUCKETS.
    """
    axes: dict[tuple[str, int] | str, tuple[int, ...]] = {}
    for name, dims in shapes.items():
        for axis, item in enumerate(dims):
            key = _key(name, axis, symbols)
            if axes.setdefault(key, _sizes(item)) != _sizes(item):
                raise UsageError(
                    f"input {name!r}: dimension {axis} ({key}) has the sizes {_text(_sizes(item))}, and "
                    f"{_text(axes[key])} elsewhere; the model gives both one name, so they must be the same"
                )
    count = math.prod(len(sizes) for sizes in axes.values())
    if count > MOST_BUCKETS:
        factors = " x ".join(str(len(sizes)) for sizes in axes.values() if len(sizes) > 1)
        raise UsageError(
            f"{factors} sizes are {count} buckets, and a package holds {MOST_BUCKETS}; give fewer sizes, or "
            "a coarser step"
        )
    return [
        {
            name: tuple(chosen[_key(name, axis, symbols)] for axis in range(len(dims)))
            for name, dims in shapes.items()
        }
        for chosen in (dict(zip(axes, sizes, strict=True)) for sizes in itertools.product(*axes.values()))
    ]


def note_symbols(model: ir.Model, symbols: Mapping[str, Sequence[str]]) -> None:
    """Keeps in the model how its source named the dimensions of the inputs."""
    model.metadata_props[_SYMBOLS] = json.dumps({name: list(dims) for name, dims in symbols.items()})


def input_symbols(model: ir.Model) -> dict[str, list[str]]:
    """The source's names of each input's dimensions, "" for one without; empty where nobody noted them."""
    found: dict[str, list[str]] = json.loads(model.metadata_props.get(_SYMBOLS, "{}"))
    return found


def _key(name: str, axis: int, symbols: Mapping[str, Sequence[str]]) -> tuple[str, int] | str:
    dims = symbols.get(name, ())
    return (dims[axis] if axis < len(dims) else "") or (name, axis)


def _parse_sizes(text: str, whole: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.replace("|", ",").split(","):
        ends, slash, step = part.partition("/")
        first, dots, last = ends.partition("..")
        numbers = [first, *([last] if dots else []), *([step] if slash else [])]
        if not all(number.isdecimal() for number in numbers) or (slash and not dots):
            raise UsageError(
                f"--input {whole!r} is not NAME:SHAPE, for example image:1x3x256x256; {part!r} is no size, "
                "list (256,512), range (256..512) or range with a step (256..512/128)"
            )
        found += _range(int(first), int(last), int(step) if slash else None, whole) if dots else [int(first)]
    return tuple(dict.fromkeys(found))


def _range(first: int, last: int, step: int | None, whole: str) -> list[int]:
    if first < 1 or last < first or step == 0:
        raise UsageError(
            f"--input {whole!r}: {first}..{last} must go up from 1 or more, in steps of 1 or more"
        )
    if step is not None and (last - first) // step >= 1 << 16:
        raise UsageError(f"--input {whole!r}: {first}..{last}/{step} is too many sizes; take a larger step")
    sizes = list(range(first, last, step)) if step is not None else []
    size = first
    while step is None and size < last:
        sizes.append(size)
        size *= 2
    return [*sizes, last]


def _sizes(item: Sizes) -> tuple[int, ...]:
    if isinstance(item, int):
        return (item,)
    sizes = tuple(dict.fromkeys(int(size) for size in item))
    if not sizes:
        raise UsageError("a dimension has no size at all; give one, or several")
    return sizes


def _text(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))

#!/usr/bin/env bash
# Fills the virtual environment $1 (made with $PYTHON) with everything but the native build.
set -euo pipefail

venv=$1
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Tiercast needs Python 3.11 or newer; $python is $("$python" -V). Set one: make PYTHON=python3.12 ..." >&2
  exit 1
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check -q)

# PyTorch's own index has the small CPU wheel; PyPI's brings CUDA on Linux, so it is the second choice.
torch=$("$venv/bin/python" tools/pins.py torch)
"${pip[@]}" show torch >/dev/null 2>&1 ||
  "${pip[@]}" install --retries 0 --timeout 15 --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" "$torch" 2>/dev/null ||
  "${pip[@]}" install "$torch"

# The build's own requirements too: the native build runs in this environment, so that it is built again in place.
"$venv/bin/python" - <<'END' | "${pip[@]}" install -r /dev/stdin
import tomllib
facts = tomllib.load(open("pyproject.toml", "rb"))
extras = facts["project"]["optional-dependencies"]
wanted = [*facts["build-system"]["requires"], *facts["project"]["dependencies"]]
wanted += [item for name in ("torch", "qat", "tf", "tvm", "quantize", "test", "dev", "demo", "effects") for item in extras[name]]
print("\n".join(wanted))
END

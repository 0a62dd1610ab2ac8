#!/bin/sh
# Makes .venv-peers ($1), the environment of the peer engines, unless it already is that of pyproject.toml's extras
# `peers` and `peers-alone`. The latter are installed without their dependencies.
set -eu
root=$(dirname "$(readlink -f "$0")")/../..
venv=${1:-$root/.venv-peers}
python=${PYTHON:-python3}
whole=$("$python" "$root/tools/pins.py" peers)
alone=$("$python" "$root/tools/pins.py" peers-alone)
wanted=$(printf '%s\n%s' "$whole" "$alone")
if [ "$wanted" = "$(cat "$venv/requirements.stamp" 2>/dev/null)" ]; then exit 0; fi
"$python" -m venv "$venv"
echo "$whole" | "$venv/bin/pip" install --quiet -r /dev/stdin
echo "$alone" | "$venv/bin/pip" install --quiet --no-deps -r /dev/stdin
# it reports each model conversion to a server
"$venv/bin/pip" uninstall --quiet --yes openvino-telemetry
echo "$wanted" >"$venv/requirements.stamp"

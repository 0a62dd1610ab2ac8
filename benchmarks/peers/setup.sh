#!/bin/sh
# Makes .venv-peers, the environment of the peer engines, unless it already is that of pyproject.toml's extra `peers`.
set -eu
root=$(dirname "$(readlink -f "$0")")/../..
venv=$root/.venv-peers
python=${PYTHON:-python3}
wanted=$("$python" - "$root/pyproject.toml" <<'END'
import sys, tomllib
print("\n".join(tomllib.load(open(sys.argv[1], "rb"))["project"]["optional-dependencies"]["peers"]))
END
)
if [ "$wanted" = "$(cat "$venv/requirements.stamp" 2>/dev/null)" ]; then exit 0; fi
"$python" -m venv "$venv"
echo "$wanted" | "$venv/bin/pip" install --quiet -r /dev/stdin
# it reports each model conversion to a server
"$venv/bin/pip" uninstall --quiet --yes openvino-telemetry
echo "$wanted" >"$venv/requirements.stamp"

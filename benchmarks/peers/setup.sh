#!/bin/sh
# Makes .venv-peers, the environment of the peer engines, unless it is already that of requirements.txt.
set -eu
here=$(dirname "$(readlink -f "$0")")
venv=$here/../../.venv-peers
stamp=$venv/requirements.stamp
if cmp -s "$here/requirements.txt" "$stamp"; then exit 0; fi
"${PYTHON:-python3.11}" -m venv "$venv"
"$venv/bin/pip" install --quiet -r "$here/requirements.txt"
# it reports each model conversion to a server
"$venv/bin/pip" uninstall --quiet --yes openvino-telemetry
cp "$here/requirements.txt" "$stamp"

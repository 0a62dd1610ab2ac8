#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that building, cross-compiling and testing need. Where it may not, it says which
# ones and goes on: what does not need them still works, and what does says so.
set -euo pipefail

packages=(clang-19 libclang-rt-19-dev lld-19 llvm-19 clang-format-19 cmake ninja-build flatbuffers-compiler libflatbuffers-dev libxxhash-dev
  g++ g++-aarch64-linux-gnu g++-arm-linux-gnueabihf qemu-user python3-venv)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "No apt here. Install what these Debian packages hold: ${packages[*]}" >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    echo "Only root may install what is missing: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 0
  fi
  as_root=(sudo -n)
fi
echo "Installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

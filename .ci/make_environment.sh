#!/usr/bin/env bash
# Make (or bring up to date) a virtual environment with the project installed in it, editable.
#
#   .ci/make_environment.sh FOLDER EXTRAS [more requirements ...]
#
# PYTHON names the interpreter (python3), 3.10 or later. Nothing is done where the environment was
# made from the same requirements before.
set -euo pipefail
folder="$1" extras="$2"
shift 2
python="${PYTHON:-python3}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "make_environment: $python is older than Python 3.10; set PYTHON to a newer one" >&2
    exit 1
}
made_of="$("$python" --version) $extras $* $(cat setup.cfg setup.py pyproject.toml | sha256sum)"
if [ "$(cat "$folder/made_of" 2>/dev/null)" = "$made_of" ]; then
    exit 0
fi

"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "make_environment: $python can't make environments; on Debian: apt-get install python3-venv" >&2
    exit 1
}
echo "making the environment $folder (a few minutes the first time)" >&2
"$python" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --upgrade pip
# The version that everything was measured with, before others ask for any; the newest elsewhere.
pip install torch==2.13.0 || pip install torch
pip install --editable ".[$extras]" "$@"
printf '%s' "$made_of" >"$folder/made_of"

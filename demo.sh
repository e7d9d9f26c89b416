#!/usr/bin/env bash
# The demo on a fresh machine: makes .venv, installs the project with its demo extra, searches the
# project's documents by meaning on every device. Needs Python 3.10 and a package index the first
# time, neither key nor network afterwards; runs again in seconds.
#
#   ./demo.sh [FOLDER] [--query Q] [--device cpu|openvino|all] [--json]
#
# PYTHON names the interpreter (python3).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

(cd "$root" && bash .ci/make_environment.sh .venv demo) >&2
exec "$root/.venv/bin/ipfs-accelerate" demo "$@"

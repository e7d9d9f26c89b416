#!/usr/bin/env bash
# Run the tests: makes its own environment the first time, then calls pytest.
#
#   bash test/run.sh [pytest arguments, paths from the top of the project]
#
# Uses the Python of IPFS_ACCELERATE_PYTHON or of the active virtual environment where there is one;
# otherwise .venv-test is made, with PYTHON (python3) as its interpreter, and the project installed
# in it. Tests whose real part (a server, weights) is absent skip and say why; with
# IPFS_ACCELERATE_REQUIRE_REAL=1 they fail instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -n "${IPFS_ACCELERATE_PYTHON:-}" ]; then
    python="$IPFS_ACCELERATE_PYTHON"
elif [ -n "${VIRTUAL_ENV:-}" ]; then
    python="$VIRTUAL_ENV/bin/python"
else
    bash .ci/make_environment.sh .venv-test demo,test
    python=.venv-test/bin/python
fi
"$python" -c 'import pytest, hypothesis, responses' 2>/dev/null || {
    echo "test/run.sh: $python has no pytest, hypothesis or responses: $python -m pip install -e '.[demo,test]'" >&2
    exit 1
}
exec "$python" -m pytest -ra "$@"

#!/usr/bin/env bash
# Build the wheel from a copy of the sources, install it with nothing but its own requirements in a
# new environment, and check that it is whole. PYTHON names the interpreter (python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# A copy: a build in place would leave its folder behind, and take up what an older one left.
mkdir "$work/source"
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
else
    find . -type f -not -path './.venv*' -not -path './build/*' -print0
fi | tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null | tar -xf - -C "$work/source"

"$python" -m venv "$work/fresh"
pip() { "$work/fresh/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip wheel --no-deps --wheel-dir "$work/wheel" "$work/source"
pip install "$work"/wheel/*.whl

cd "$work"
fresh/bin/python - wheel/*.whl <<'CHECK'
import json
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = set(wheel.namelist())
    assert "hardware/mapped_models.json" in names, "the wheel has no mapped_models.json"
    models = json.loads(wheel.read("hardware/mapped_models.json"))["models"]
    for package in ("api_backends", "hardware", "ipfs_accelerate_py"):
        assert f"{package}/__init__.py" in names, f"the wheel has no {package}"
        assert f"{package}/py.typed" in names, f"the wheel has no {package}/py.typed"
    assert not any(name.startswith("test/") for name in names), "the wheel has the tests"

import api_backends
import hardware
import ipfs_accelerate_py

assert "site-packages" in api_backends.__file__, api_backends.__file__
heavy = {"torch", "transformers", "openvino", "numpy", "requests"} & set(sys.modules)
assert not heavy, f"importing the packages loads {sorted(heavy)}"
backends = api_backends.get_available_backends()
print(f"wheel: {len(names)} files, {len(models)} model types, {len(backends)} back ends")
CHECK
fresh/bin/ipfs-accelerate --help >/dev/null
fresh/bin/ipfs-accelerate backends >/dev/null

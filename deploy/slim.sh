#!/bin/sh
# Takes out of a virtual environment what sampling does not need: a third of it. Run by the Dockerfile.
set -eu
environment=$1
packages=$(echo "$environment"/lib/python3*/site-packages)
rm -rf "$packages"/torch/test "$packages"/torch/include "$packages"/torch/share
# Import needs torch_shm_manager; the rest are tests and tools.
find "$packages"/torch/bin -type f ! -name torch_shm_manager -delete
strip --strip-unneeded "$packages"/torch/lib/libtorch_cpu.so
find "$packages" -name __pycache__ -prune -exec rm -rf {} +
find "$packages" -type d -name tests -path '*/sympy/*' -prune -exec rm -rf {} +

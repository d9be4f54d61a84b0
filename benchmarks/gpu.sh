#!/usr/bin/env bash
# Ten minutes of a GPU: what no CPU can show, in one script.
#
#   python -m benchmarks.gpu_pack --data ramen/        once, where the photographs are: makes build/gpu
#   benchmarks/gpu.sh check                            <= 5 minutes: the tests of a GPU, then the table
#   benchmarks/gpu.sh train                            the rest: a training of MINUTES minutes
#
# Results go to $OUT (default: build/gpu-out): check.log, table.md and compiled.log; train.log, samples.png and the run in pieces
# (run.tar.gz.*): 8 files, each below 16 MiB, 64 MiB together. A failure is said, and the rest goes on; the exit
# status is 1 then. A second piece goes on from a folder that such pieces were unpacked to: RESUME=FOLDER, and
# MINUTES is then the time of both pieces. INIT=CHECKPOINT begins as that checkpoint.
# DEVICE=cpu tries it end to end with tiny sizes; RESOLUTION, BATCH and SECONDS_OF_TABLE are what they say, and
# FIT_OPTIONS is whatever else `trainer fit` is to be told.
set -uo pipefail
cd "$(dirname "$0")/.."
mode=${1:-check}
device=${DEVICE:-cuda}
pack=${PACK:-build/gpu}
out=${OUT:-build/gpu-out}
minutes=${MINUTES:-8}
resolution=${RESOLUTION:-128}
batch=${BATCH:-64}
python=${PYTHON:-python3}
failed=0
export PYTHONPATH="$PWD:$PWD/$pack/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

say_failed() {
    echo "FAILED: $1"
    failed=1
}

tests() {
    "$python" -m pytest -m cuda -n 0 -q -rf --durations=5 -p no:cacheprovider "$@" tests/trainer/training/test_cuda.py
}

check() {
    tests -k "not compiled" 2>&1 | tee "$out/check.log" || say_failed "the tests of a GPU, see check.log"
    local sizes=(--seconds "${SECONDS_OF_TABLE:-120}")
    [ "$device" = cpu ] && sizes=(--resolution 32 --batch 4 --width 16 --rounds 1 --compile)
    "$python" -m benchmarks.gpu --device "$device" "${sizes[@]}" 2>&1 | tee "$out/table.md" || say_failed "the table"
    grep -q '^FAILED' "$out/table.md" && say_failed "a row of the table, see table.md"
    # compilers take their time: they come last
    tests -k compiled 2>&1 | tee "$out/compiled.log" || say_failed "the tests of compiled gradients, see compiled.log"
}

train() {
    local run
    run=$(mktemp -d)/run
    local sizes=(--resolution "$resolution" --batch "$batch" --eval-every 2000 --snap 4000)
    [ "$device" = cpu ] && sizes=(--resolution 32 --width 16 --batch 4 --steps 40 --eval-every 20 --snap 20)
    if [ -n "${RESUME:-}" ]; then
        cp -r "$RESUME" "$run"
        sizes=(--resume)
    elif [ -n "${INIT:-}" ]; then
        sizes+=(--init "$INIT")
    fi
    read -ra given <<<"${FIT_OPTIONS:-}"
    "$python" -m trainer fit --data "$pack/photographs.zip" --out "$run" --device "$device" --minutes "$minutes" \
        "${sizes[@]}" "${given[@]}" 2>&1 | tee "$out/train.log" || say_failed "the training, see train.log"
    local best=$run/checkpoints/best.safetensors
    [ -f "$best" ] || best=$run/checkpoints/last.safetensors
    "$python" -m trainer sample "$best" --n 64 --grid "$out/samples.png" --device "$device" || say_failed "the samples"
    "$python" -m trainer report "$run" --data "$pack/photographs.zip" || say_failed "the report"
    "$python" -m benchmarks.gpu_bring "$run" "$out" || say_failed "what comes back of the run"
    rm -rf "$(dirname "$run")"
}

case $mode in
check | train)
    mkdir -p "$out"
    if [ -z "${TRAINER_CACHE:-}" ]; then
        TRAINER_CACHE=$(mktemp -d)
        export TRAINER_CACHE
        trap 'rm -rf "$TRAINER_CACHE"' EXIT
    fi
    "$mode"
    ls -l "$out"
    exit $failed
    ;;
*)
    echo "usage: benchmarks/gpu.sh [check|train]" >&2
    exit 2
    ;;
esac

#!/usr/bin/env bash
# Ten minutes of a GPU: what no CPU can show, in one script.
#
#   python -m benchmarks.gpu_pack --data ramen/        once, where the photographs are: makes build/gpu
#   benchmarks/gpu.sh check                            <= 4 minutes: the tests of a GPU, then the table
#   benchmarks/gpu.sh train                            the rest: a training of MINUTES minutes
#
# Results go to $OUT (default: build/gpu-out): check.log, table.md; and of a training: checkpoint, metrics, sheets,
# report and state, each below 16 MiB, so that a second piece goes on with --resume. A failure is said, and the rest
# goes on. DEVICE=cpu tries it end to end with tiny sizes.
set -uo pipefail
cd "$(dirname "$0")/.."
mode=${1:-check}
device=${DEVICE:-cuda}
pack=${PACK:-build/gpu}
out=${OUT:-build/gpu-out}
minutes=${MINUTES:-8}
resolution=${RESOLUTION:-128}
batch=${BATCH:-64}
mkdir -p "$out"
export PYTHONPATH="$PWD:$PWD/$pack/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export TRAINER_CACHE=${TRAINER_CACHE:-$(mktemp -d)}
python=${PYTHON:-python3}

check() {
    "$python" -m pytest -m cuda -n 0 -q -rf -p no:cacheprovider tests/trainer/training/test_cuda.py 2>&1 |
        tee "$out/check.log" || echo "FAILED: see check.log"
    local sizes=(--seconds "${SECONDS_OF_TABLE:-120}" --compile-first)
    [ "$device" = cpu ] && sizes=(--resolution 32 --batch 4 --width 16 --rounds 1)
    "$python" -m benchmarks.gpu --device "$device" "${sizes[@]}" 2>&1 | tee "$out/table.md" ||
        echo "FAILED: the table"
}

train() {
    local run=$out/run options=(--resolution "$resolution" --batch "$batch" --minutes "$minutes" --eval-every 2000 --snap 4000)
    [ "$device" = cpu ] && options=(--resolution 32 --width 16 --batch 4 --minutes "$minutes" --steps 40 --eval-every 20 --snap 20)
    if [ -d "$run/state" ]; then
        options=(--resume)
    elif [ -n "${INIT:-}" ]; then
        options+=(--init "$INIT")
    fi
    "$python" -m trainer fit --data "$pack/photographs.zip" --out "$run" --device "$device" "${options[@]}" 2>&1 |
        tee "$out/train.log" || echo "FAILED: the training"
    "$python" -m trainer sample "$run/checkpoints/best.safetensors" --n 64 --grid "$out/samples.png" --device "$device" ||
        "$python" -m trainer sample "$run/checkpoints/last.safetensors" --n 64 --grid "$out/samples.png" --device "$device"
    "$python" -m trainer report "$run" --data "$pack/photographs.zip" || echo "FAILED: the report"
    # what comes back may hold 8 files of 16 MiB: the newest state and checkpoint in pieces, the rest in one archive
    tar -C "$run" -czf "$out/run.tar.gz" --exclude state --exclude checkpoints --exclude tensorboard .
    newest=$(ls -t "$run"/state/state-*.safetensors 2>/dev/null | head -1)
    tar -C "$run" -cf - "state/$(basename "$newest")" checkpoints/last.safetensors config.json metrics.jsonl |
        zstd -q -T0 2>/dev/null >"$out/state.tar.zst" ||
        tar -C "$run" -czf "$out/state.tar.gz" "state/$(basename "$newest")" checkpoints/last.safetensors config.json metrics.jsonl
    for archive in "$out"/state.tar.zst "$out"/state.tar.gz; do
        [ -s "$archive" ] && split -b 15M "$archive" "$archive." && rm "$archive"
    done
    rm -rf "$out/run.kept" && mv "$run" "${KEEP:-$(mktemp -d)}/run"
    ls -l "$out"
}

case $mode in
check | train) "$mode" ;;
*)
    echo "usage: benchmarks/gpu.sh [check|train]" >&2
    exit 2
    ;;
esac

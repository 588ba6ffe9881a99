#!/usr/bin/env bash
# What is too slow, or needs too quiet a machine, for every change: the benchmarks. Each fails when it is below its goal.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=()
for benchmark in hack/bench/*.sh; do
    [[ -e "$benchmark" ]] || { echo "nightly.sh: there are no benchmarks in hack/bench" >&2; exit 1; }
    printf '\n== %s\n' "$benchmark"
    started=$SECONDS
    if bash "$benchmark"; then
        printf '== %s: passed in %d s\n' "$benchmark" $((SECONDS - started))
    else
        failed+=("$benchmark")
        printf '== %s: FAILED after %d s\n' "$benchmark" $((SECONDS - started))
    fi
done
if ((${#failed[@]})); then
    printf '\nfailed: %s\n' "${failed[*]}" >&2
    exit 1
fi

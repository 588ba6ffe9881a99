#!/usr/bin/env bash
# What is too slow, or needs too quiet a machine, for every change: the benchmarks, each of which fails when it is below its
# goal; 100,000 random lives of installations (PLAN_SEQUENCES for another number); 500 kills of the controller, with servers
# that go and come back (CHAOS_KILLS for another number, CHAOS_SEED to repeat a run); 1,000 random overlays against kustomize;
# an hour of arbitrary repositories (KUSTOMIZE_FUZZ_SECONDS for another time); and the mutants of the planner, nine in ten of
# which its tables have to kill.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=()
run() {
    local name=$1 started=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    if "$@"; then
        printf '== %s: passed in %d s\n' "$name" $((SECONDS - started))
    else
        failed+=("$name")
        printf '== %s: FAILED after %d s\n' "$name" $((SECONDS - started))
    fi
}

# Fails when the tables of controller/plan let more than a tenth of its mutants live: docs/mutation.md. One that never ends
# counts as killed. Of cargo-mutants, 2 and 3 say that some lived or did not end, and anything else that it did not work.
mutants() {
    local out=target/mutants status=0 killed missed
    cargo mutants --package plan --output "$out" -- --lib --test tables || status=$?
    ((status == 0 || status == 2 || status == 3)) || return 1
    killed=$(cat "$out"/mutants.out/{caught,timeout}.txt | wc -l)
    missed=$(wc -l <"$out/mutants.out/missed.txt")
    printf '%d of %d viable mutants killed; the others: %s\n' "$killed" $((killed + missed)) "$out/mutants.out/missed.txt"
    ((killed > 0 && killed * 10 >= (killed + missed) * 9))
}

for benchmark in hack/bench/*.sh; do
    [[ -e "$benchmark" ]] || { echo "nightly.sh: there are no benchmarks in hack/bench" >&2; exit 1; }
    run "$benchmark" bash "$benchmark"
done
run 'random lives of installations, against a model of the operator and of Porter' \
    env PLAN_SEQUENCES="${PLAN_SEQUENCES:-100000}" cargo test --quiet --locked --release -p plan --test model
if cargo mutants --version >/dev/null 2>&1; then
    run 'mutants of the planner' mutants
else
    echo '!! no cargo-mutants here: the tests of the planner are not tested (cargo install cargo-mutants --locked) !!'
fi
if cargo build --quiet --locked --workspace --bins; then
    run 'kills and outages' \
        env CHAOS_KILLS="${CHAOS_KILLS:-500}" cargo test --quiet --locked -p e2e --test chaos -- --nocapture
else
    failed+=('kills and outages: the controller does not build')
fi
run 'random overlays against kustomize' \
    env KUSTOMIZE_SEEDS=1000 cargo test --quiet --locked -p kustomize --test random -- --nocapture
if cargo +nightly fuzz --version >/dev/null 2>&1; then
    run 'arbitrary repositories, by coverage' \
        cargo +nightly fuzz run overlays -- \
        -max_total_time="${KUSTOMIZE_FUZZ_SECONDS:-3600}" -timeout=20 -rss_limit_mb=3000 -max_len=6000
else
    echo '!! no cargo-fuzz with nightly Rust here: the repositories are drawn, without coverage !!'
    run 'arbitrary repositories, by chance' \
        env KUSTOMIZE_FUZZ_SECONDS="${KUSTOMIZE_FUZZ_SECONDS:-3600}" \
        cargo test --quiet --locked --release -p kustomize --test fuzz -- --nocapture
fi
if ((${#failed[@]})); then
    printf '\nfailed: %s\n' "${failed[*]}" >&2
    exit 1
fi

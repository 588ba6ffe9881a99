#!/usr/bin/env bash
# Building overlays, against `kubectl kustomize`: CPU seconds of whole processes. Fails when a figure is below its floor.
#
#   hack/bench/kustomize.sh                 with what kubectl needs for 10,000 Installations as it was measured before
#   hack/bench/kustomize.sh --peer-10000    measures that too, in four to five minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v kubectl >/dev/null; then
    echo 'kustomize.sh: kubectl is missing; its `kustomize` is what the builds are compared with' >&2
    exit 1
fi
cargo build --quiet --locked --release -p cli --bin flux-porter
exec cargo run --quiet --locked --release -p kustomize --example bench_kustomize -- \
    "${CARGO_TARGET_DIR:-target}/release/flux-porter" "$@"

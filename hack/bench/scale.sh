#!/usr/bin/env bash
# 250 and 1,000 BundleSyncs on one GitRepository: requests, downloads, CPU. Fails when a limit is missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --quiet --locked --release -p controller --bin porter-flux-controller
cargo build --quiet --locked -p e2e --bins
target=${CARGO_TARGET_DIR:-target}
PORTER_FLUX_CONTROLLER="$PWD/$target/release/porter-flux-controller"
[[ "$target" != /* ]] || PORTER_FLUX_CONTROLLER="$target/release/porter-flux-controller"
export PORTER_FLUX_CONTROLLER
exec cargo run --quiet --locked -p e2e --bin bench-scale -- "$@"

#!/usr/bin/env bash
# Fetching an artifact of 50 MiB in 10,000 files, against inflating and hashing its bytes alone. Fails below 0.70.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec cargo run --quiet --locked --release -p artifact --example bench_artifact

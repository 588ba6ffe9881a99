#!/usr/bin/env bash
# Writes what is generated from the sources: the CRDs of porter-flux, from the types in api/.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p manifests/crd
cargo run --locked --quiet --package api --bin generate-crds -- manifests/crd

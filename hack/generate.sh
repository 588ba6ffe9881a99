#!/usr/bin/env bash
# Writes what is generated: the CRDs of porter-flux, from the types in api/, and the table of Kubernetes' own kinds that
# controller/kustomize has built in, from the pinned API server.
#
# Needs what the end-to-end tests need, see hack/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p manifests/crd
cargo run --locked --quiet --package api --bin generate-crds -- manifests/crd

# The API server is started by way of another binary of e2e.
cargo build --locked --quiet --package e2e --bins
cargo run --locked --quiet --package e2e --bin generate-kustomize-schema

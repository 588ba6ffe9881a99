#!/usr/bin/env bash
# Compares the cases of controller/kustomize/tests/cases with the installed kustomize v5.8.1, and random overlays with it.
#
#   hack/kustomize-cases.sh            compare
#   hack/kustomize-cases.sh --write    write what kustomize says into the cases, to be reviewed
#   SEEDS=1000 hack/kustomize-cases.sh compare so many random overlays, instead of 50
#
# kustomize: go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
'') export KUSTOMIZE_CASES=compare ;;
--write) export KUSTOMIZE_CASES=write ;;
*)
    echo "usage: hack/kustomize-cases.sh [--write]" >&2
    exit 2
    ;;
esac
cargo test --quiet --locked -p kustomize --test cases -- --nocapture
KUSTOMIZE_SEEDS="${SEEDS:-50}" cargo test --quiet --locked -p kustomize --test random -- --nocapture

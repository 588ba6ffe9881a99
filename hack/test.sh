#!/usr/bin/env bash
# Every check of a change: format, lints, all tests, the end-to-end tests among them, and the manifests.
#
#   hack/test.sh           all
#   hack/test.sh --fast    without the end-to-end tests and the servers that they need
#
# Needs cargo, go, git and a C compiler; kubectl for the manifests. The first run builds the servers of the end-to-end
# tests, which takes about ten minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fast=
case "${1:-}" in
'') ;;
--fast) fast=1 ;;
*)
    echo "usage: hack/test.sh [--fast]" >&2
    exit 2
    ;;
esac

declare -A source=(
    [cargo]='Rust: https://rustup.rs'
    [go]='Go: https://go.dev/doc/install'
    [git]='git: https://git-scm.com/downloads'
    [cc]='a C compiler: apt-get install build-essential, or the like'
)
missing=
for tool in cargo go git cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "test.sh: '$tool' is missing. It comes with ${source[$tool]}" >&2
        missing=1
    fi
done
if [[ -n "$missing" ]]; then exit 1; fi

# What is built from nothing is built sooner without.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"

step() { printf '\n== %s\n' "$*"; }

step 'format'
cargo fmt --all --check

step 'lints'
cargo clippy --locked --workspace --all-targets -- -D warnings

step 'manifests'
if command -v kubectl >/dev/null; then
    for folder in manifests/default manifests/overlays/*/; do
        kubectl kustomize "$folder" >/dev/null
        echo "$folder builds"
    done
    # A component builds with what includes it.
    mkdir -p target/with-components
    {
        echo 'resources: [../../manifests/default]'
        echo 'components:'
        for component in manifests/components/*/; do echo "  - ../../$component"; done
    } >target/with-components/kustomization.yaml
    kubectl kustomize target/with-components >/dev/null
    echo 'manifests/default with all of manifests/components builds'
else
    echo '!! SKIPPED: no kubectl here, so manifests/ was not built with Kustomize !!'
fi

step 'dependencies'
if command -v cargo-deny >/dev/null; then
    # Advisories are fetched, and so are for who has a network: `cargo deny check advisories`.
    cargo deny --offline --locked check bans licenses sources
else
    echo '!! SKIPPED: no cargo-deny here (cargo install cargo-deny), so deny.toml was not checked !!'
fi

step 'build'
# With the tests, whose dependencies have more features: without them all would be built twice.
cargo build --locked --workspace --all-targets

step 'samples'
# Each folder by our own build, and what is to be applied also by our own rules; each that holds none of Porter's own
# documents, which Kustomize does not know, by kubectl too. A component builds with what includes it.
flux_porter="${CARGO_TARGET_DIR:-target}/debug/flux-porter"
while read -r folder; do
    kustomization="$folder/kustomization.yaml"
    if grep -qs '^kind: Component$' "$kustomization"; then continue; fi
    "$flux_porter" build "$folder" --root manifests/samples >/dev/null
    told='builds'
    case "$folder" in
    */cluster | */base) ;;
    *)
        "$flux_porter" plan "$folder" --root manifests/samples >/dev/null
        told+=', plans'
        ;;
    esac
    sample="${folder#manifests/samples/}"
    if [[ -e "$kustomization" ]] && command -v kubectl >/dev/null &&
        { [[ "$folder" == */cluster ]] || ! grep -rqs '^schemaType:' "manifests/samples/${sample%%/*}"; }; then
        kubectl kustomize "$folder" >/dev/null
        told+=', builds with kubectl'
    fi
    echo "$folder $told"
done < <(find manifests/samples -name '*.yaml' -exec dirname {} \; | sort -u)

if [[ -n "$fast" ]]; then
    step 'tests, without the end-to-end tests'
    cargo test --locked --workspace --exclude e2e
    echo '!! SKIPPED: the end-to-end tests (--fast) !!'
    exit 0
fi

step 'servers for the end-to-end tests'
hack/control-plane/build.sh

step 'tests'
# Tests with servers wait for those most of their time. So those that have a cluster for themselves run beside all others,
# and more of a kind than there are cores run side by side.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-6}"
apart=(chaos conformance everywhere missing_crd playground)
others=()
for file in {,*/}*/tests/*.rs {,*/}*/tests/*/main.rs; do
    if [[ ! -e "$file" ]]; then continue; fi
    name="${file%/main.rs}"
    name="$(basename "$name" .rs)"
    if [[ " ${apart[*]} " != *" $name "* ]]; then others+=(--test "$name"); fi
done
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
cargo test --locked --workspace --no-fail-fast "${apart[@]/#/--test=}" >"$log" 2>&1 &
beside=$!
failed=
cargo test --locked --workspace --no-fail-fast --lib --bins "${others[@]}" || failed=1
wait "$beside" || failed=1
cat "$log"
if [[ -n "$failed" ]]; then
    echo 'test.sh: tests failed, see above' >&2
    exit 1
fi

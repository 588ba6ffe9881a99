#!/usr/bin/env bash
# porter-flux to look at: a cluster's real API server on this machine, Flux's source-controller, a git server, the
# controller, and a sample that becomes ready. It runs until Ctrl-C; nothing is left behind.
#
#   hack/run.sh                 everything on this machine; Porter's operator and its runs are played
#   hack/run.sh --once          the same, and ends after the demonstration
#   hack/run.sh --kubeconfig F --git-url URL [--git-branch B] [--path P] [--namespace N]
#                               the controller here, all else in the cluster of F, which has Flux and Porter's operator
#                               (needs kubectl, which forwards a port to source-controller)
#   hack/run.sh --help          all options
#
# Needs cargo, go, git and a C compiler. The first run builds the servers, which takes about ten minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in cargo go git cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "run.sh: '$tool' is needed; docs/development.md says where to get it" >&2
        exit 1
    fi
done
say() { printf 'run.sh: %s\n' "$*" >&2; }
say "building the controller and the playground with cargo (minutes the first time) ..."
"${CARGO:-cargo}" build --locked -p controller -p e2e --bins
say "starting the playground"
# Not by cargo run: of e2e alone the dependencies have other features, and would all be built once more.
exec "${CARGO_TARGET_DIR:-target}/debug/playground" "$@"

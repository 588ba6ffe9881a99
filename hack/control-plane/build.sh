#!/usr/bin/env bash
# Builds the servers that the end-to-end tests and hack/run.sh use, from the Go modules pinned beside this file:
# etcd, kube-apiserver, kube-controller-manager, source-controller, an OCI registry, the flux CLI.
#
# Prints, as its last line on standard output, the folder that holds the binaries and the CRDs of Flux; progress
# goes to standard error. Built once, then kept outside the tree in a folder named after the content of the modules:
#   ${XDG_CACHE_HOME:-$HOME/.cache}/porter-flux/control-plane/<key>
# PORTER_FLUX_CONTROL_PLANE=DIR names a folder of ready binaries instead; it is used as it is.
#
# Needs: Go 1.26, git. About ten minutes on two cores when nothing is cached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly KUBERNETES_VERSION=v1.34.4
readonly BINARIES=(etcd kube-apiserver kube-controller-manager source-controller registry flux)

say() { printf 'control-plane: %s\n' "$*" >&2; }

if [[ -n "${PORTER_FLUX_CONTROL_PLANE:-}" ]]; then
    for binary in "${BINARIES[@]}"; do
        if [[ ! -x "$PORTER_FLUX_CONTROL_PLANE/$binary" ]]; then
            say "PORTER_FLUX_CONTROL_PLANE=$PORTER_FLUX_CONTROL_PLANE holds no executable '$binary'"
            exit 1
        fi
    done
    echo "$PORTER_FLUX_CONTROL_PLANE"
    exit 0
fi

if ! command -v go >/dev/null; then
    say "Go 1.26 is needed to build the control plane: https://go.dev/doc/install"
    exit 1
fi

key=$(cat build.sh ./*/go.mod ./*/go.sum ./*/tools.go | sha256sum | cut -c1-16)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/porter-flux/control-plane"
out="$cache/$key"
if [[ -e "$out/complete" ]]; then
    echo "$out"
    exit 0
fi
mkdir -p "$out"
# Two test runs at once: the second waits for the first one's binaries.
exec 9>"$cache/$key.lock"
if command -v flock >/dev/null; then flock 9; fi
if [[ -e "$out/complete" ]]; then
    echo "$out"
    exit 0
fi

export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
step=0
# build MODULE PACKAGE BINARY [LDFLAGS]: one binary, unless an earlier, interrupted run has made it.
build() {
    step=$((step + 1))
    if [[ -x "$out/$3" ]]; then
        say "[$step/${#BINARIES[@]}] $3: already built"
        return
    fi
    say "[$step/${#BINARIES[@]}] $3 from $2 ..."
    local started=$SECONDS
    (cd "$1" && go build -trimpath -ldflags "-s -w ${4:-}" -o "$out/$3.partial" "$2") >&2
    mv "$out/$3.partial" "$out/$3"
    say "[$step/${#BINARIES[@]}] $3: $((SECONDS - started)) s"
}

# A client asks the server for its version and, without these, is told v0.0.0.
component=k8s.io/component-base/version
version_flags="-X $component.gitVersion=$KUBERNETES_VERSION -X $component.gitMajor=1 -X $component.gitMinor=34"

build etcd go.etcd.io/etcd/server/v3 etcd
build kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver "$version_flags"
build kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager "$version_flags"
build source-controller github.com/fluxcd/source-controller source-controller
build registry github.com/distribution/distribution/v3/cmd/registry registry

# The flux CLI embeds install manifests that its module does not hold; they are used by `flux install` alone. Go
# refuses to overlay the module cache, so the module is vendored in a scratch folder and given an empty one.
step=$((step + 1))
if [[ ! -x "$out/flux" ]]; then
    say "[$step/${#BINARIES[@]}] flux from github.com/fluxcd/flux2/v2/cmd/flux ..."
    started=$SECONDS
    scratch=$(mktemp -d)
    trap 'chmod -R u+w "$scratch" 2>/dev/null; rm -rf "$scratch"' EXIT
    cp flux/go.mod flux/go.sum flux/tools.go "$scratch/"
    (
        cd "$scratch"
        # go mod vendor reports the embed pattern that matches nothing, and still writes vendor/.
        go mod vendor >/dev/null 2>&1 || true
        manifests=vendor/github.com/fluxcd/flux2/v2/cmd/flux/manifests
        mkdir -p "$manifests"
        printf '# none\n' >"$manifests/none.yaml"
        go build -mod=vendor -trimpath -ldflags "-s -w -X main.VERSION=2.9.5" -o "$out/flux.partial" \
            github.com/fluxcd/flux2/v2/cmd/flux
    ) >&2
    mv "$out/flux.partial" "$out/flux"
    say "[$step/${#BINARIES[@]}] flux: $((SECONDS - started)) s"
else
    say "[$step/${#BINARIES[@]}] flux: already built"
fi

# The CRDs of the Flux sources come with the module of source-controller.
crds=$(cd source-controller && go list -m -f '{{.Dir}}' github.com/fluxcd/source-controller)/config/crd/bases
rm -rf "$out/crds"
mkdir -p "$out/crds"
cp "$crds"/*.yaml "$out/crds/"
chmod u+w "$out/crds"/*.yaml

touch "$out/complete"
say "ready in $out"
echo "$out"

# The controller, and the flux-porter command beside it.
#   docker build -t porter-flux:dev .
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Both caches outlive the build; the binaries are copied out of the second one.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin porter-flux-controller --bin flux-porter \
    && mkdir /out \
    && cp target/release/porter-flux-controller target/release/flux-porter /out/

# glibc, libgcc and CA certificates, and no shell. Its user is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="porter-flux" \
      org.opencontainers.image.description="GitOps for Porter bundles with Flux" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /licenses/LICENSE
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
EXPOSE 8080 9440
ENTRYPOINT ["/usr/local/bin/porter-flux-controller"]

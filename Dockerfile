# The image of Davit: the static program, git and an ssh client on a small base.
#
#   docker build --tag davit .
#
# Both base images can be replaced, for example by those of a mirror:
#   --build-arg RUST_IMAGE=…   Rust and a C compiler on Debian, the version of rust-toolchain.toml
#   --build-arg BASE_IMAGE=…   Alpine Linux
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG BASE_IMAGE=docker.io/library/alpine:3.22

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# .cargo/config.toml names the target, so the program lies in a directory with the name of the target.
RUN cargo build --release --locked --package davit --bin davit \
    && mkdir -p /out \
    && cp target/*/release/davit /out/davit

FROM ${BASE_IMAGE}
RUN apk add --no-cache ca-certificates git openssh-client-default
# ssh needs a user with a name and a home. The uid is a number in manifests/, which proves that it is not root.
RUN echo 'davit:x:65532:65532:Davit:/var/lib/davit:/sbin/nologin' >>/etc/passwd \
    && echo 'davit:x:65532:' >>/etc/group \
    && mkdir -p /var/lib/davit \
    && chown 65532:65532 /var/lib/davit \
    && chmod 700 /var/lib/davit
COPY --from=build /out/davit /usr/local/bin/davit
# One heap for all threads, as in packaging/davit.service.
ENV DAVIT_DATA_DIR=/var/lib/davit GLIBC_TUNABLES=glibc.malloc.arena_max=1
# The engine's socket belongs to a group of the machine: `docker run --group-add` gives it to this user.
USER 65532:65532
WORKDIR /var/lib/davit
LABEL org.opencontainers.image.title="davit" \
      org.opencontainers.image.description="Kubernetes-style deployments of applications on a Docker Engine" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/usr/local/bin/davit"]
CMD ["up"]

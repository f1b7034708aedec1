FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS build
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-ef56e777fedaa4da8c66a150081523c5de1e0171.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvZWY1NmU3NzdmZWRhYTRkYThjNjZhMTUwMDgxNTIzYzVkZTFlMDE3MS50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAoaW1wb3J0IChidWlsdGlucy5mZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9veGFsaWNhL3J1c3Qtb3ZlcmxheS9hcmNoaXZlL21hc3Rlci50YXIuZ3oiKSkgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICJlZjU2ZTc3N2ZlZGFhNGRhOGM2NmExNTAwODE1MjNjNWRlMWUwMTcxLWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiZWY1NmU3NzdmZWRhYTRkYThjNjZhMTUwMDgxNTIzYzVkZTFlMDE3MS1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvZWY1NmU3NzdmZWRhYTRkYThjNjZhMTUwMDgxNTIzYzVkZTFlMDE3MS1lbnYuc2gKICAgICcnKQogICAgKHJ1c3QtYmluLnN0YWJsZS5sYXRlc3QuZGVmYXVsdC5vdmVycmlkZSB7IHRhcmdldHMgPSBbIng4Nl82NC11bmtub3duLWxpbnV4LW11c2wiXTsgfSkgYmludXRpbHMgZ2NjIG11c2wgbXVzbC5kZXYKICBdOwp9Cg==","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-ef56e777fedaa4da8c66a150081523c5de1e0171.nix && nix-collect-garbage -d"]
ENV NIXPACKS_METADATA="rust"
ENV ROCKET_ADDRESS="0.0.0.0"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cargo-git,target=/root/.cargo/git,sharing=shared --mount=type=cache,id=key-root-.cargo-registry,target=/root/.cargo/registry,sharing=shared --mount=type=cache,id=key-app-target,target=/app/target,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; mkdir -p bin"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cargo-git,target=/root/.cargo/git,sharing=shared --mount=type=cache,id=key-root-.cargo-registry,target=/root/.cargo/registry,sharing=shared --mount=type=cache,id=key-app-target,target=/app/target,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; cargo build --release --target x86_64-unknown-linux-musl"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cargo-git,target=/root/.cargo/git,sharing=shared --mount=type=cache,id=key-root-.cargo-registry,target=/root/.cargo/registry,sharing=shared --mount=type=cache,id=key-app-target,target=/app/target,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; cp target/x86_64-unknown-linux-musl/release/shop bin"]
FROM ubuntu:noble AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
COPY --from=build /etc/ssl/certs /etc/ssl/certs
COPY --from=build ["/app/bin/shop","/app/bin/shop"]
CMD ["./bin/shop"]

FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS build
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-1f13eabcd6f5b00fe9de9575ac52c66a0e887ce6.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvMWYxM2VhYmNkNmY1YjAwZmU5ZGU5NTc1YWM1MmM2NmEwZTg4N2NlNi50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICIxZjEzZWFiY2Q2ZjViMDBmZTlkZTk1NzVhYzUyYzY2YTBlODg3Y2U2LWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiMWYxM2VhYmNkNmY1YjAwZmU5ZGU5NTc1YWM1MmM2NmEwZTg4N2NlNi1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvMWYxM2VhYmNkNmY1YjAwZmU5ZGU5NTc1YWM1MmM2NmEwZTg4N2NlNi1lbnYuc2gKICAgICcnKQogICAgZ29fMV8yMQogIF07Cn0K","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-1f13eabcd6f5b00fe9de9575ac52c66a0e887ce6.nix && nix-collect-garbage -d"]
ENV CGO_ENABLED="0"
ENV NIXPACKS_METADATA="go"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cache-go-build,target=/root/.cache/go-build,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; go mod download"]
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cache-go-build,target=/root/.cache/go-build,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; go build -o out"]
FROM ubuntu:noble AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
COPY --from=build /etc/ssl/certs /etc/ssl/certs
COPY --from=build /app/ /app/
CMD ["./out"]

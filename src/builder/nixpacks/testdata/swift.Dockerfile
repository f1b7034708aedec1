FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-9957cd48326fe8dbd52fdc50dd2502307f188b0d.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvOTk1N2NkNDgzMjZmZThkYmQ1MmZkYzUwZGQyNTAyMzA3ZjE4OGIwZC50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICI5OTU3Y2Q0ODMyNmZlOGRiZDUyZmRjNTBkZDI1MDIzMDdmMTg4YjBkLWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiOTk1N2NkNDgzMjZmZThkYmQ1MmZkYzUwZGQyNTAyMzA3ZjE4OGIwZC1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvOTk1N2NkNDgzMjZmZThkYmQ1MmZkYzUwZGQyNTAyMzA3ZjE4OGIwZC1lbnYuc2gKICAgICcnKQogICAgY2xhbmcgY29yZXV0aWxzIHN3aWZ0IHpsaWIgemxpYi5kZXYKICBdOwp9Cg==","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-9957cd48326fe8dbd52fdc50dd2502307f188b0d.nix && nix-collect-garbage -d"]
ENV NIXPACKS_METADATA="swift"
COPY ["Package.swift","/app/Package.swift"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; swift package resolve"]
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; CC=clang++ swift build -c release --static-swift-stdlib"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; cp ./.build/release/shop ./shop && rm -rf ./.build"]
COPY [".","/app/"]
CMD ["./shop"]

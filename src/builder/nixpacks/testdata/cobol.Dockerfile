FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-5148520bfab61f99fd25fb9ff7bfbb50dad3c9db.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICI1MTQ4NTIwYmZhYjYxZjk5ZmQyNWZiOWZmN2JmYmI1MGRhZDNjOWRiLWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi1lbnYuc2gKICAgICcnKQogICAgZ2NjIGdudS1jb2JvbAogIF07Cn0K","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-5148520bfab61f99fd25fb9ff7bfbb50dad3c9db.nix && nix-collect-garbage -d"]
ENV NIXPACKS_METADATA="cobol"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; cobc -x -o index index.cbl"]
COPY [".","/app/"]
CMD ["./index"]

FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-59dc10b5a6f2a592af36375c68fda41246794b86.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvNTlkYzEwYjVhNmYyYTU5MmFmMzYzNzVjNjhmZGE0MTI0Njc5NGI4Ni50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICI1OWRjMTBiNWE2ZjJhNTkyYWYzNjM3NWM2OGZkYTQxMjQ2Nzk0Yjg2LWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiNTlkYzEwYjVhNmYyYTU5MmFmMzYzNzVjNjhmZGE0MTI0Njc5NGI4Ni1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvNTlkYzEwYjVhNmYyYTU5MmFmMzYzNzVjNjhmZGE0MTI0Njc5NGI4Ni1lbnYuc2gKICAgICcnKQogICAgZ3JhZGxlIGpkazE3CiAgXTsKfQo=","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-59dc10b5a6f2a592af36375c68fda41246794b86.nix && nix-collect-garbage -d"]
ENV NIXPACKS_METADATA="java"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.gradle,target=/root/.gradle,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; chmod +x gradlew"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.gradle,target=/root/.gradle,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; ./gradlew clean build -x check -x test"]
COPY [".","/app/"]
CMD ["java $JAVA_OPTS -jar  $(ls -1 build/libs/*jar | grep -v plain)"]

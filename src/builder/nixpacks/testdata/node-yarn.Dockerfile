FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-ffeebf0acf3ae8b29f8c7049cd911b9636efd7e7.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvZmZlZWJmMGFjZjNhZThiMjlmOGM3MDQ5Y2Q5MTFiOTYzNmVmZDdlNy50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAoaW1wb3J0IChidWlsdGlucy5mZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9yYWlsd2F5YXBwL25peC1ucG0tb3ZlcmxheS9hcmNoaXZlL21haW4udGFyLmd6IikpIF07IH07CmluIHdpdGggcGtnczsKbGV0CiAgbGlicmFyaWVzID0gbGliLm1ha2VMaWJyYXJ5UGF0aCBbICBdOwogIHByb2ZpbGUgPSB3cml0ZVRleHQgImxpYnJhcmllcyIgJycKICAgICAgZXhwb3J0IExEX0xJQlJBUllfUEFUSD0iJHtsaWJyYXJpZXN9OiRMRF9MSUJSQVJZX1BBVEgiCiAgICAnJzsKaW4gYnVpbGRFbnYgewogIG5hbWUgPSAiZmZlZWJmMGFjZjNhZThiMjlmOGM3MDQ5Y2Q5MTFiOTYzNmVmZDdlNy1lbnYiOwogIHBhdGhzID0gWwogICAgKHJ1bkNvbW1hbmQgImZmZWViZjBhY2YzYWU4YjI5ZjhjNzA0OWNkOTExYjk2MzZlZmQ3ZTctZW52IiB7IH0gJycKICAgICAgbWtkaXIgLXAgJG91dC9ldGMvcHJvZmlsZS5kCiAgICAgIGNwICR7cHJvZmlsZX0gJG91dC9ldGMvcHJvZmlsZS5kL2ZmZWViZjBhY2YzYWU4YjI5ZjhjNzA0OWNkOTExYjk2MzZlZmQ3ZTctZW52LnNoCiAgICAnJykKICAgIG5vZGVqc18xOCB5YXJuLTFfeAogIF07Cn0K","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-ffeebf0acf3ae8b29f8c7049cd911b9636efd7e7.nix && nix-collect-garbage -d"]
ENV CI="true"
ENV NIXPACKS_METADATA="node"
ENV NODE_ENV="production"
ENV NPM_CONFIG_PRODUCTION="false"
ENV NIXPACKS_PATH="/app/node_modules/.bin:$NIXPACKS_PATH"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-usr-local-share-.cache-yarn-v6,target=/usr/local/share/.cache/yarn/v6,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; yarn install --frozen-lockfile"]
RUN ["/bin/sh","-c","printf %s \"$1\" >> /root/.profile","sh","\nPATH=/app/node_modules/.bin:$PATH"]
COPY [".","/app/"]
CMD ["yarn run start"]

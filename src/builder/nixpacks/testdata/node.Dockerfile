FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-e6f23dc08d3624daab7094b701aa3954923c6bbb.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvZTZmMjNkYzA4ZDM2MjRkYWFiNzA5NGI3MDFhYTM5NTQ5MjNjNmJiYi50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAoaW1wb3J0IChidWlsdGlucy5mZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9yYWlsd2F5YXBwL25peC1ucG0tb3ZlcmxheS9hcmNoaXZlL21haW4udGFyLmd6IikpIF07IH07CmluIHdpdGggcGtnczsKbGV0CiAgbGlicmFyaWVzID0gbGliLm1ha2VMaWJyYXJ5UGF0aCBbICBdOwogIHByb2ZpbGUgPSB3cml0ZVRleHQgImxpYnJhcmllcyIgJycKICAgICAgZXhwb3J0IExEX0xJQlJBUllfUEFUSD0iJHtsaWJyYXJpZXN9OiRMRF9MSUJSQVJZX1BBVEgiCiAgICAnJzsKaW4gYnVpbGRFbnYgewogIG5hbWUgPSAiZTZmMjNkYzA4ZDM2MjRkYWFiNzA5NGI3MDFhYTM5NTQ5MjNjNmJiYi1lbnYiOwogIHBhdGhzID0gWwogICAgKHJ1bkNvbW1hbmQgImU2ZjIzZGMwOGQzNjI0ZGFhYjcwOTRiNzAxYWEzOTU0OTIzYzZiYmItZW52IiB7IH0gJycKICAgICAgbWtkaXIgLXAgJG91dC9ldGMvcHJvZmlsZS5kCiAgICAgIGNwICR7cHJvZmlsZX0gJG91dC9ldGMvcHJvZmlsZS5kL2U2ZjIzZGMwOGQzNjI0ZGFhYjcwOTRiNzAxYWEzOTU0OTIzYzZiYmItZW52LnNoCiAgICAnJykKICAgIG5vZGVqc18yMiBucG0tOV94CiAgXTsKfQo=","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-e6f23dc08d3624daab7094b701aa3954923c6bbb.nix && nix-collect-garbage -d"]
ENV CI="true"
ENV NIXPACKS_METADATA="node"
ENV NODE_ENV="production"
ENV NPM_CONFIG_PRODUCTION="false"
ENV NIXPACKS_PATH="/app/node_modules/.bin:$NIXPACKS_PATH"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.npm,target=/root/.npm,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; npm ci"]
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-app-node_modules-.cache,target=/app/node_modules/.cache,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; npm run build"]
RUN ["/bin/sh","-c","printf %s \"$1\" >> /root/.profile","sh","\nPATH=/app/node_modules/.bin:$PATH"]
COPY [".","/app/"]
CMD ["npm run start"]

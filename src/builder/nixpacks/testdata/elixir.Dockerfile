FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-c5702bd28cbde41a191a9c2a00501f18941efbd0.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvYzU3MDJiZDI4Y2JkZTQxYTE5MWE5YzJhMDA1MDFmMTg5NDFlZmJkMC50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgc3RkZW52LmNjLmNjLmxpYiBdOwogIHByb2ZpbGUgPSB3cml0ZVRleHQgImxpYnJhcmllcyIgJycKICAgICAgZXhwb3J0IExEX0xJQlJBUllfUEFUSD0iJHtsaWJyYXJpZXN9OiRMRF9MSUJSQVJZX1BBVEgiCiAgICAnJzsKaW4gYnVpbGRFbnYgewogIG5hbWUgPSAiYzU3MDJiZDI4Y2JkZTQxYTE5MWE5YzJhMDA1MDFmMTg5NDFlZmJkMC1lbnYiOwogIHBhdGhzID0gWwogICAgKHJ1bkNvbW1hbmQgImM1NzAyYmQyOGNiZGU0MWExOTFhOWMyYTAwNTAxZjE4OTQxZWZiZDAtZW52IiB7IH0gJycKICAgICAgbWtkaXIgLXAgJG91dC9ldGMvcHJvZmlsZS5kCiAgICAgIGNwICR7cHJvZmlsZX0gJG91dC9ldGMvcHJvZmlsZS5kL2M1NzAyYmQyOGNiZGU0MWExOTFhOWMyYTAwNTAxZjE4OTQxZWZiZDAtZW52LnNoCiAgICAnJykKICAgIGVsaXhpcl8xXzE1IGdjYwogIF07Cn0K","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-c5702bd28cbde41a191a9c2a00501f18941efbd0.nix && nix-collect-garbage -d"]
ENV ELIXIR_ERL_OPTIONS="+fnu"
ENV MIX_ENV="prod"
ENV NIXPACKS_METADATA="elixir"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; mix local.hex --force"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; mix local.rebar --force"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; mix deps.get --only prod"]
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; mix compile"]
COPY [".","/app/"]
CMD ["mix phx.server"]

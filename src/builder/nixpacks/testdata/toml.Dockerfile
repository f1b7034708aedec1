FROM example.com/base:1 AS build
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-5148520bfab61f99fd25fb9ff7bfbb50dad3c9db.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgb3BlbnNzbCBdOwogIHByb2ZpbGUgPSB3cml0ZVRleHQgImxpYnJhcmllcyIgJycKICAgICAgZXhwb3J0IExEX0xJQlJBUllfUEFUSD0iJHtsaWJyYXJpZXN9OiRMRF9MSUJSQVJZX1BBVEgiCiAgICAgIGV4cG9ydCBPUEVOU1NMX0RJUj0iJHtvcGVuc3NsLmRldn0iCiAgICAgIGV4cG9ydCBPUEVOU1NMX0xJQl9ESVI9IiR7b3BlbnNzbC5vdXR9L2xpYiIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICI1MTQ4NTIwYmZhYjYxZjk5ZmQyNWZiOWZmN2JmYmI1MGRhZDNjOWRiLWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi1lbnYuc2gKICAgICcnKQogICAganEKICBdOwp9Cg==","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-5148520bfab61f99fd25fb9ff7bfbb50dad3c9db.nix && nix-collect-garbage -d"]
RUN ["/bin/bash","-ol","pipefail","-c","sudo apt-get update && sudo apt-get install -y --no-install-recommends curl"]
ENV MODE="\$HOME \"x\""
ENV NIXPACKS_PATH="/app/bin:$NIXPACKS_PATH"
COPY ["Makefile","/app/Makefile"]
COPY ["src","/app/src"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cache,target=/root/.cache,sharing=shared --mount=type=cache,id=key-app-obj,target=/app/obj,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; make all && echo 'done'"]
RUN ["/bin/sh","-c","printf %s \"$1\" >> /root/.profile","sh","\nPATH=/app/bin:$PATH"]
FROM example.com/run:1 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
COPY --from=build /etc/ssl/certs /etc/ssl/certs
COPY --from=build ["/app/bin","/app/bin"]
RUN ["useradd","-m","-s","/bin/bash","--","shop"]
USER shop
CMD ["./bin/shop --name \"a b\""]

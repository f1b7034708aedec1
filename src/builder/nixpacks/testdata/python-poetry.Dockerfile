FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-bc8f8d1be58e8c8383e683a06e1e1e57893fff87.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvYmM4ZjhkMWJlNThlOGM4MzgzZTY4M2EwNmUxZTFlNTc4OTNmZmY4Ny50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgc3RkZW52LmNjLmNjLmxpYiB6bGliIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICJiYzhmOGQxYmU1OGU4YzgzODNlNjgzYTA2ZTFlMWU1Nzg5M2ZmZjg3LWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiYmM4ZjhkMWJlNThlOGM4MzgzZTY4M2EwNmUxZTFlNTc4OTNmZmY4Ny1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvYmM4ZjhkMWJlNThlOGM4MzgzZTY4M2EwNmUxZTFlNTc4OTNmZmY4Ny1lbnYuc2gKICAgICcnKQogICAgZ2NjIHB5dGhvbjMKICBdOwp9Cg==","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-bc8f8d1be58e8c8383e683a06e1e1e57893fff87.nix && nix-collect-garbage -d"]
ENV NIXPACKS_METADATA="python,poetry"
ENV NIXPACKS_POETRY_VERSION="1.3.1"
ENV PIP_DEFAULT_TIMEOUT="100"
ENV PIP_DISABLE_PIP_VERSION_CHECK="1"
ENV PIP_NO_CACHE_DIR="1"
ENV PYTHONDONTWRITEBYTECODE="1"
ENV PYTHONFAULTHANDLER="1"
ENV PYTHONHASHSEED="random"
ENV PYTHONUNBUFFERED="1"
ENV NIXPACKS_PATH="/opt/venv/bin:$NIXPACKS_PATH"
COPY [".","/app/"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.cache-pip,target=/root/.cache/pip,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; python -m venv --copies /opt/venv && . /opt/venv/bin/activate && pip install poetry==$NIXPACKS_POETRY_VERSION && poetry install --no-dev --no-interaction --no-ansi"]
RUN ["/bin/sh","-c","printf %s \"$1\" >> /root/.profile","sh","\nPATH=/opt/venv/bin:$PATH"]
COPY [".","/app/"]
CMD ["python main.py"]

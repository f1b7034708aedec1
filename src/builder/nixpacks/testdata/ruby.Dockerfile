FROM ghcr.io/railwayapp/nixpacks:ubuntu-1745885067 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
RUN ["/bin/sh","-c","set -e; mkdir -p \"$(dirname \"$1\")\"; printf %s \"$2\" | base64 -d > \"$1\"; chmod \"$3\" \"$1\"","sh","/app/.nixpacks/nixpkgs-5148520bfab61f99fd25fb9ff7bfbb50dad3c9db.nix","eyB9OgpsZXQKICBwa2dzID0gaW1wb3J0IChmZXRjaFRhcmJhbGwgImh0dHBzOi8vZ2l0aHViLmNvbS9OaXhPUy9uaXhwa2dzL2FyY2hpdmUvNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi50YXIuZ3oiKSB7IG92ZXJsYXlzID0gWyAgXTsgfTsKaW4gd2l0aCBwa2dzOwpsZXQKICBsaWJyYXJpZXMgPSBsaWIubWFrZUxpYnJhcnlQYXRoIFsgIF07CiAgcHJvZmlsZSA9IHdyaXRlVGV4dCAibGlicmFyaWVzIiAnJwogICAgICBleHBvcnQgTERfTElCUkFSWV9QQVRIPSIke2xpYnJhcmllc306JExEX0xJQlJBUllfUEFUSCIKICAgICcnOwppbiBidWlsZEVudiB7CiAgbmFtZSA9ICI1MTQ4NTIwYmZhYjYxZjk5ZmQyNWZiOWZmN2JmYmI1MGRhZDNjOWRiLWVudiI7CiAgcGF0aHMgPSBbCiAgICAocnVuQ29tbWFuZCAiNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi1lbnYiIHsgfSAnJwogICAgICBta2RpciAtcCAkb3V0L2V0Yy9wcm9maWxlLmQKICAgICAgY3AgJHtwcm9maWxlfSAkb3V0L2V0Yy9wcm9maWxlLmQvNTE0ODUyMGJmYWI2MWY5OWZkMjVmYjlmZjdiZmJiNTBkYWQzYzlkYi1lbnYuc2gKICAgICcnKQogICAgcnVzdGMKICBdOwp9Cg==","644"]
RUN ["/bin/bash","-ol","pipefail","-c","nix-env -if /app/.nixpacks/nixpkgs-5148520bfab61f99fd25fb9ff7bfbb50dad3c9db.nix && nix-collect-garbage -d"]
RUN ["/bin/bash","-ol","pipefail","-c","sudo apt-get update && sudo apt-get install -y --no-install-recommends procps git curl autoconf bison build-essential libssl-dev libyaml-dev libreadline6-dev zlib1g-dev libncurses5-dev libffi-dev libgdbm6 libgdbm-dev libdb-dev"]
ENV BUNDLE_GEMFILE="/app/Gemfile"
ENV GEM_HOME="/usr/local/rvm/gems/ruby-3.2.2"
ENV GEM_PATH="/usr/local/rvm/gems/ruby-3.2.2:/usr/local/rvm/gems/ruby-3.2.2@global"
ENV MALLOC_ARENA_MAX="2"
ENV NIXPACKS_METADATA="ruby"
ENV NIXPACKS_PATH="\$HOME/.rbenv/bin:$NIXPACKS_PATH"
RUN --mount=type=secret,id=TOKEN ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; curl -fsSL https://github.com/rbenv/rbenv-installer/raw/HEAD/bin/rbenv-installer | bash -s stable && printf '\\neval \"$(~/.rbenv/bin/rbenv init -)\"' >> /root/.profile && . /root/.profile && rbenv install 3.2.2 && rbenv global 3.2.2 && gem install bundler:2.4.10"]
ENV NIXPACKS_PATH="/usr/local/rvm/rubies/ruby-3.2.2/bin:/usr/local/rvm/gems/ruby-3.2.2/bin:/usr/local/rvm/gems/ruby-3.2.2@global/bin:$NIXPACKS_PATH"
COPY ["Gemfile","/app/Gemfile"]
COPY ["Gemfile.lock","/app/Gemfile.lock"]
RUN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.bundle-cache,target=/root/.bundle/cache,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if [ -f /run/secrets/TOKEN ]; then TOKEN=$(cat /run/secrets/TOKEN; printf x); TOKEN=${TOKEN%x}; export TOKEN; fi; bundle install"]
RUN ["/bin/sh","-c","printf %s \"$1\" >> /root/.profile","sh","\nPATH=$HOME/.rbenv/bin:$PATH"]
RUN ["/bin/sh","-c","printf %s \"$1\" >> /root/.profile","sh","\nPATH=/usr/local/rvm/rubies/ruby-3.2.2/bin:/usr/local/rvm/gems/ruby-3.2.2/bin:/usr/local/rvm/gems/ruby-3.2.2@global/bin:$PATH"]
COPY [".","/app/"]
CMD ["bundle exec rackup config.ru -p ${PORT:-3000}"]

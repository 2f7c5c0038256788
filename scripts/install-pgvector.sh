#!/bin/sh
# Installs the pgvector extension for one PostgreSQL server of a Debian-like machine. Needs root. Safe to run again, and twice at once.
# Usage: install-pgvector.sh [MAJOR]     MAJOR: the server's major version (default: the newest one installed)
# Where the distribution has a binary package, that is taken; otherwise (Debian 12) the Debian source package is built.
set -eu
. "$(dirname -- "$0")/apt.sh"

major=${1:-$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sed 's|/usr/lib/postgresql/||; s|/bin/initdb||' | sort -n | tail -n 1)}
[ -n "$major" ] || fail "no PostgreSQL server under /usr/lib/postgresql"
bin=/usr/lib/postgresql/$major/bin
[ -x "$bin/postgres" ] || fail "no PostgreSQL $major server under /usr/lib/postgresql"

installed() {
  [ -e "/usr/share/postgresql/$major/extension/vector.control" ] && [ -e "/usr/lib/postgresql/$major/lib/vector.so" ]
}

if installed; then exit 0; fi
begin_install pgvector
if installed; then exit 0; fi # another run did it while this one waited

refresh_lists
if apt-cache show "postgresql-$major-pgvector" >/dev/null 2>&1; then
  apt -y install --no-install-recommends "postgresql-$major-pgvector"
  installed || fail "the package postgresql-$major-pgvector left no extension behind"
  exit 0
fi

build_packages="postgresql-server-dev-$major"
if ! command -v make >/dev/null || ! command -v gcc >/dev/null; then build_packages="$build_packages build-essential"; fi
# shellcheck disable=SC2086 # a list of package names
apt -y install --no-install-recommends $build_packages

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt downloads as its own unprivileged user

# The mirror this machine already uses, from one-line (.list) or deb822 (.sources) entries; security mirrors hold no source of ours.
# Cloud images name a list of mirrors (mirror+file:/etc/apt/mirrors/debian.list), which serves as well.
mirror=$(
  {
    sed -n 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' \
      /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true
    sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null || true
  } | grep -E '/debian(\.list)?(/|$)' | head -n 1
)
[ -n "$mirror" ] || fail "no Debian mirror in this machine's apt sources"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || fail "no $keyring"

# An apt configuration of its own: the machine's sources stay as they are.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"
echo "deb-src [signed-by=$keyring] $mirror trixie main" >"$work/sources.list"
private_apt() {
  (cd "$work" && apt -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@")
}
private_apt update
private_apt source --download-only pgvector

mkdir "$work/source"
tar -xf "$work"/pgvector_*.orig.tar.* -C "$work/source" --strip-components=1
# OPTFLAGS is emptied so that the library runs on any processor of this architecture, not only on the one that built it.
make -C "$work/source" -s -j2 OPTFLAGS="" PG_CONFIG="$bin/pg_config"
make -C "$work/source" -s install OPTFLAGS="" PG_CONFIG="$bin/pg_config"
installed || fail "the build finished, but left no extension behind"

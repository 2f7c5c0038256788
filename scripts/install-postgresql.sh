#!/bin/sh
# Installs the distribution's PostgreSQL server on a Debian-like machine. Needs root. Does nothing when a server is there.
set -eu

[ -z "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "install-postgresql: needs root and apt-get; install a PostgreSQL server (15 or newer) by hand" >&2
  exit 1
fi

exec 9>/run/lock/llmspell-storage-apt.lock
flock 9
[ -z "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
apt-get -q -o DPkg::Lock::Timeout=600 update
apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends postgresql

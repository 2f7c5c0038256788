#!/bin/sh
# Installs the distribution's PostgreSQL server on a Debian-like machine. Needs root. Does nothing when a server is there.
set -eu
. "$(dirname -- "$0")/apt.sh"

installed() { [ -n "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ]; }

if installed; then exit 0; fi
begin_install "a PostgreSQL server (15 or newer)"
if installed; then exit 0; fi # another run did it while this one waited

# Only the programs are wanted: no cluster is created and no server left running on port 5432.
settings=/etc/postgresql-common/createcluster.d
mkdir -p "$settings"
trap 'rm -f "$settings/llmspell-storage.conf"; rmdir "$settings" 2>/dev/null || true' EXIT
echo "create_main_cluster = false" >"$settings/llmspell-storage.conf"

refresh_lists
apt -y install --no-install-recommends postgresql
installed || fail "the package postgresql left no server behind"

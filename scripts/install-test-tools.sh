#!/bin/sh
# Installs the programs that the tests run beside the tool, as users do. Debian-like machines, as root.
# Usage: install-test-tools.sh PROGRAM...     (each is also the name of its package: jq, gzip, zstd, sqlite3, time)
set -eu
. "$(dirname -- "$0")/apt.sh"

begin_install "$*"
refresh_lists
apt -y install --no-install-recommends "$@"

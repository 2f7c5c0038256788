#!/bin/sh
# Installs the programs that the tests and benches run beside the tool, as users do. Debian-like machines, as root.
# Usage: install-test-tools.sh PROGRAM...     (names of packages: jq, gzip, zstd, sqlite3, time, exfat-fuse, exfatprogs; for the benches pigz, gdal-bin, pgloader)
set -eu
. "$(dirname -- "$0")/apt.sh"

begin_install "$*"
refresh_lists
apt -y install --no-install-recommends "$@"

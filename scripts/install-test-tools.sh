#!/bin/sh
# Installs the programs that the tests and benches run beside the tool, as users do. Debian-like machines, as root.
# Usage: install-test-tools.sh PROGRAM...     (names of packages: jq, gzip, zstd, sqlite3, time, pgbouncer, openssl, exfat-fuse, exfatprogs, xz-utils, bzip2, zip, unzip, zsh, fish, mandoc, chromium, systemd, logrotate; for the benches pigz, gdal-bin, pgloader, pgcopydb)
set -eu
. "$(dirname -- "$0")/apt.sh"

begin_install "$*"
# Only the programs are wanted: no service is started.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

refresh_lists
apt -y install --no-install-recommends "$@"

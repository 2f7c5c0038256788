#!/bin/sh
# Runs the conformance and fidelity tests against the PostgreSQL of Debian's suites, each in a root of its own (debootstrap).
# As root on a Debian-like machine. Usage: test-servers.sh [SUITE...]
#   SUITE: bullseye (13), bookworm (15), trixie (17), forky (18); default: all of them
#   SERVERS_FOLDER keeps the roots from one run to the next; SERVERS_TESTS are the tests to run.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tests=${SERVERS_TESTS:-test/conformance test/fidelity}
port=${SERVERS_PORT:-5600}
[ "$(id -u)" -eq 0 ] || { echo "test-servers: needs root" >&2; exit 1; }
[ $# -gt 0 ] || set -- bullseye bookworm trixie forky
command -v debootstrap >/dev/null || sh "$here/install-test-tools.sh" debootstrap

kept=${SERVERS_FOLDER:-}
folder=${kept:-$(mktemp -d)}
mkdir -p "$folder"
log="$folder/log"
mounted=
started=
cleanup() {
  [ -z "$started" ] || chroot "$started" runuser -u postgres -- sh -c '/usr/lib/postgresql/*/bin/pg_ctl stop -D /var/tmp/data -m immediate' >/dev/null 2>&1 || true
  [ -z "$mounted" ] || umount "$mounted" 2>/dev/null || true
  [ -n "$kept" ] || rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The newest server that the suite has, with pgvector.
make_root() {
  suite=$1
  root=$2
  scripts=/usr/share/debootstrap/scripts
  # Suites that are younger than this machine's debootstrap are made as unstable is.
  if [ -e "$scripts/$suite" ]; then script=; else script="$scripts/sid"; fi
  # shellcheck disable=SC2086 # nothing, or one word
  debootstrap --variant=minbase "$suite" "$root" http://deb.debian.org/debian $script
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
  mount -t proc proc "$root/proc"
  mounted=$root/proc
  in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive "$@"; }
  mkdir -p "$root/etc/postgresql-common/createcluster.d"
  echo "create_main_cluster = false" >"$root/etc/postgresql-common/createcluster.d/test.conf"
  in_root apt-get install -y --no-install-recommends postgresql
  # Where Debian has no package it is built from Debian's source, which a newer key has signed.
  cp /usr/share/keyrings/debian-archive-keyring.gpg "$root/usr/share/keyrings/"
  cp "$here/apt.sh" "$here/install-pgvector.sh" "$root/root/"
  in_root sh /root/install-pgvector.sh
  umount "$root/proc"
  mounted=
  touch "$root/.complete"
}

start_server() {
  root=$1
  started=$root
  rm -rf "$root/var/tmp/data"
  chroot "$root" runuser -u postgres -- sh -c '
    bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
    common="-D /var/tmp/data -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync"
    $bin/initdb $common --locale-provider=icu --icu-locale=en-US || $bin/initdb $common'
  {
    cat "$here/server.conf"
    printf "port = %s\nunix_socket_directories = '/var/tmp'\n" "$port"
  } >>"$root/var/tmp/data/postgresql.conf"
  printf 'local all all trust\nhost all +password_required 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n' >"$root/var/tmp/data/pg_hba.conf"
  sed -i 's/^#password_encryption.*/password_encryption = scram-sha-256/' "$root/var/tmp/data/postgresql.conf"
  chroot "$root" runuser -u postgres -- sh -c '$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/pg_ctl start -D /var/tmp/data -l /var/tmp/log -w -t 60'
  chroot "$root" runuser -u postgres -- psql -h /var/tmp -p "$port" -qc 'CREATE ROLE password_required NOLOGIN' postgres
}

stop_server() {
  chroot "$1" runuser -u postgres -- sh -c '$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/pg_ctl stop -D /var/tmp/data -m immediate -w'
  started=
}

result=0
for suite in "$@"; do
  root=$folder/root-$suite
  {
    [ -e "$root/.complete" ] || make_root "$suite" "$root"
    start_server "$root"
  } >"$log-$suite" 2>&1 </dev/null || {
    echo "$suite: no server ($log-$suite)"
    tail -n 5 "$log-$suite"
    result=1
    continue
  }
  versions=$(chroot "$root" runuser -u postgres -- psql -h /var/tmp -p "$port" -Atqc "SELECT split_part(current_setting('server_version'), ' ', 1) || ', pgvector ' || default_version FROM pg_available_extensions WHERE name = 'vector'" postgres)
  # A server's own pg_dump: an older one refuses it.
  dump=$folder/pg_dump-$suite
  printf '#!/bin/sh\nexec chroot "%s" sh -c '"'"'exec $(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/pg_dump "$@"'"'"' pg_dump "$@"\n' "$root" >"$dump"
  chmod +x "$dump"
  # shellcheck disable=SC2086 # a list of words
  if (cd "$here/.." && TEST_PG_DUMP="$dump" TEST_DATABASE_URL="postgresql://postgres@127.0.0.1:$port/postgres" sh scripts/with-dependencies.sh vitest run $tests) >>"$log-$suite" 2>&1; then outcome=passed; else outcome=FAILED result=1; fi
  # Without the colours of a terminal.
  sum=$(sed 's/\x1b\[[0-9;]*m//g' "$log-$suite" | sed -n 's/^ *Tests  *//p' | tail -n 1)
  echo "$suite: PostgreSQL $versions: $outcome, $sum"
  [ "$outcome" = passed ] || sed 's/\x1b\[[0-9;]*m//g' "$log-$suite" | grep '^ *FAIL' | sort -u | head -n 20
  stop_server "$root" >>"$log-$suite" 2>&1 </dev/null
done
exit "$result"

# shellcheck shell=sh
# Read by the install scripts (`. apt.sh`): apt as all of them use it, one at a time.

program=$(basename -- "$0" .sh)
export DEBIAN_FRONTEND=noninteractive

fail() {
  echo "$program: $*" >&2
  exit 1
}

# apt must ask nothing, and must not hand the lock on to a daemon that a package starts.
apt() {
  apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold "$@" </dev/null 9>&-
}

# Waits until no other run of an install script is at work, and fetches the package lists.
begin_install() {
  [ "$(id -u)" -eq 0 ] || fail "needs root"
  command -v apt-get >/dev/null || fail "needs apt-get; install $1 by hand"
  mkdir -p /run/lock
  exec 9>/run/lock/llmspell-storage-apt.lock
  flock 9
}

# One unreachable repository must not stop an install from the others.
refresh_lists() { apt update || echo "$program: some package lists could not be fetched" >&2; }

#!/bin/sh
# Runs a command with the project's packages installed and node_modules/.bin (which holds Node 24) first on PATH.
# Usage: sh scripts/with-dependencies.sh COMMAND [ARGUMENT...]
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
lock=node_modules.lock

installed() { [ -d "$root/node_modules" ] && node "$root/scripts/installed.cjs"; }

if ! installed; then
  # Two first runs at once must not install over each other; mkdir is the portable atomic lock.
  waited=0
  until mkdir "$root/$lock" 2>/dev/null; do
    if [ "$waited" -ge 600 ]; then
      echo "with-dependencies: $root/$lock is still held after 10 minutes; remove it if no install runs" >&2
      exit 1
    fi
    waited=$((waited + 1))
    sleep 1
  done
  trap 'rmdir "$root/$lock" 2>/dev/null || true' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if ! installed; then
    echo "with-dependencies: installing packages (npm ci)" >&2
    (cd "$root" && npm ci --no-audit --no-fund --loglevel=error >&2)
  fi
  rmdir "$root/$lock"
  trap - EXIT INT TERM
fi

PATH="$root/node_modules/.bin:$PATH"
export PATH
exec "$@"

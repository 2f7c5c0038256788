#!/bin/sh
# Exports again and again, where there is neither cron nor systemd: in a container, say.
# BACKUP_FOLDER, BACKUP_KEEP (14), BACKUP_SECONDS (86400: a day), BACKUP_RUNS (0: for ever); DATABASE_URL as everywhere.
set -u
folder=${BACKUP_FOLDER:?names the folder of the backups}
runs=${BACKUP_RUNS:-0}
busy=

# A signal may come before the shell does anything behind the start of a command: `$!` is known by then.
end() {
  [ -z "$busy" ] || [ -z "${!:-}" ] || kill -TERM "$!" 2>/dev/null
  wait
  exit 143
}
trap end TERM INT

# In the background, so that a signal is heard at once.
run() {
  busy=yes
  "$@" &
  wait "$!"
  status=$?
  busy=
  return "$status"
}

done=0
failed=0
while :; do
  run llmspell storage export --output "$folder/backup-%Y-%m-%dT%H%M%SZ.json.zst" --keep "${BACKUP_KEEP:-14}" --no-progress || failed=$?
  done=$((done + 1))
  [ "$runs" -ne "$done" ] || exit "$failed"
  # Not all of the time at once: a signal may pass by a command that only begins.
  left=${BACKUP_SECONDS:-86400}
  while [ "$left" -gt 0 ]; do
    step=$((left < 5 ? left : 5))
    run sleep "$step"
    left=$((left - step))
  done
done

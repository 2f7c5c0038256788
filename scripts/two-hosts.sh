#!/usr/bin/env bash
# Two hosts on this machine (root, Linux): network namespaces with a link between, a PostgreSQL server in each. Migrates so many
# megabytes (2000) from the one to the other with two workers, the queue on the target: one worker is killed, another comes late.
# Then the stores are compared. Says what each worker has loaded, and the seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
megabytes=${1:-2000}
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
work=$(mktemp -d /tmp/llmspell-hosts-XXXXXX)
chmod 755 "$work"
one=llmspell-$$-1 two=llmspell-$$-2
pids=()
on() { ip netns exec "$@"; }
cleanup() {
  for pid in "${pids[@]}"; do { kill -9 "$pid" && wait "$pid"; } 2>/dev/null || true; done
  for host in one two; do runuser -u postgres -- "$bin/pg_ctl" stop -D "$work/$host" -m immediate >/dev/null 2>&1 || true; done
  ip netns del $one 2>/dev/null || true
  ip netns del $two 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

ip netns add $one
ip netns add $two
ip link add "v$$a" netns $one type veth peer name "v$$b" netns $two
on $one ip addr add 10.77.0.1/24 dev "v$$a"
on $two ip addr add 10.77.0.2/24 dev "v$$b"
for host in $one $two; do on $host ip link set lo up; done
on $one ip link set "v$$a" up
on $two ip link set "v$$b" up

server() { # HOST FOLDER ADDRESS
  install -d -o postgres -m 700 "$work/$2"
  runuser -u postgres -- "$bin/initdb" -D "$work/$2" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
  cat >>"$work/$2/postgresql.conf" <<CONF
listen_addresses = '$3'
unix_socket_directories = '$work/$2'
max_wal_size = 4GB
shared_buffers = 256MB
fsync = off
synchronous_commit = off
full_page_writes = off
dynamic_shared_memory_type = mmap
CONF
  echo 'host all all 10.77.0.0/24 trust' >>"$work/$2/pg_hba.conf"
  on "$1" runuser -u postgres -- "$bin/pg_ctl" start -D "$work/$2" -l "$work/$2/log" -w -t 60 >/dev/null </dev/null
}
server $one one 10.77.0.1
server $two two 10.77.0.2
old=postgresql://postgres@10.77.0.1/old new=postgresql://postgres@10.77.0.2/new queue=postgresql://postgres@10.77.0.2/postgres

node=$(command -v node)
cli="$PWD/dist/cli.js"
export HOME=$work LLMSPELL_CONFIG=$work/config.toml
printf '[stores.old]\nurl = "%s"\n[stores.new]\nurl = "%s"\n' $old $new >"$LLMSPELL_CONFIG"
sql() { on $one "$bin/psql" -qAtX -d "$@"; }
llmspell() { on "$1" "$node" "$cli" "${@:2}"; }
sql postgresql://postgres@10.77.0.1/postgres -c 'CREATE DATABASE old TEMPLATE template0'
sql $queue -c 'CREATE DATABASE new TEMPLATE template0'
llmspell $one database migrate --database $old --quiet
llmspell $two database migrate --database $new --quiet
echo "filling …"
on $one "$node" --import ./scripts/from-source.mjs -e '
  const { fillPostgres } = await import(process.argv[1]);
  const part = Number(process.argv[3]) / 2000;
  const many = (count) => Math.max(12, Math.round(count * part));
  await fillPostgres(process.argv[2], {
    records: 500, padding: 6000, contentSizes: Array.from({ length: many(300) }, (_, n) => 1048576 + n * 7000),
    counts: { kv_store: many(80_000), event_log: many(80_000), hook_history: many(40_000), vector_embeddings_3072: many(6000),
      entities: many(20_000), artifact_content: many(400), artifacts: many(400) },
  });
' "$PWD/test/helpers/sample-data.ts" $old "$megabytes"
size=$(sql $old -c "SELECT pg_size_pretty(pg_database_size('old'))")
echo "source: $size on disk, large objects among it: $(sql $old -c 'SELECT count(*) FROM pg_largeobject_metadata')"

worker() { # HOST NAME: its lines go to a file. Not by `on`: what is killed must be the worker, not a shell before it
  ip netns exec "$1" "$node" "$cli" storage worker --queue $queue --json >"$work/$2.jsonl" 2>"$work/$2.err" &
  pids+=($!)
  started=$!
}
done_parts() { on $two "$bin/psql" -qAtX -d $new -c 'SELECT count(*) FROM llmspell.storage_parts'; }
worker $two killed
killed=$started
worker $one second
began=$EPOCHREALTIME
ip netns exec $one "$node" "$cli" storage migrate --from old --to new --queue $queue --quiet &
run=$!
pids+=("$run")
stage() { on $two "$bin/psql" -qAtX -d $new -c 'SELECT stage FROM llmspell.storage_plans' 2>/dev/null || true; }
since() { awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }"; }
until [ "$(done_parts)" -ge "${KILL_AT:-12}" ]; do sleep 0.05; done
kill -9 "$killed"
wait "$killed" 2>/dev/null || true
echo "one worker killed after $(done_parts) parts, $(grep -c '"loaded"' "$work/killed.jsonl") of them its own"
until [ "$(done_parts)" -ge "${LATE_AT:-60}" ] || ! kill -0 "$run" 2>/dev/null; do sleep 0.1; done
worker $two late
echo "one worker started after $(done_parts) parts"
# Workers load while parts are planned.
until [[ "$(stage)" =~ ^(loading|ending)$ ]] || ! kill -0 "$run" 2>/dev/null; do sleep 0.05; done
echo "all planned after $(since) s: $(on $two "$bin/psql" -qAtX -d $new -c 'SELECT count(*) FROM llmspell.storage_plan_parts') parts"
until [ "$(stage)" = ending ] || ! kill -0 "$run" 2>/dev/null; do sleep 0.1; done
echo "all parts loaded after $(since) s"
wait "$run"
ended=$EPOCHREALTIME
echo "migrated: $(awk "BEGIN { printf \"%.1f\", $ended - $began }") s, $(done_parts) parts, $(on $two "$bin/psql" -qAtX -d $new -c 'SELECT sum(records) FROM llmspell.storage_parts') records, $(on $two "$bin/psql" -qAtX -d $new -c 'SELECT pg_size_pretty(sum(bytes)) FROM llmspell.storage_parts') of values"
for name in killed second late; do echo "  worker $name: $(grep -c '"loaded"' "$work/$name.jsonl" || true) parts"; done
llmspell $one storage verify old new

/**
 * What `llmspell explain` and docs/errors.md say of each code, beside its meaning (src/errors.ts).
 * Over 300 lines: one entry per code.
 */
import type { ErrorCode } from "../../errors.js";

export interface Explanation {
  readonly cause: string;
  readonly remedy: string;
  /** A message that leads to it, or commands that help. */
  readonly example: string;
}

export const EXPLANATIONS: Readonly<Record<ErrorCode, Explanation>> = {
  E_UNEXPECTED: {
    cause: "A defect of llmspell-storage, or of a library below it. Nothing was committed.",
    remedy:
      "Run the command again with --verbose, and report what it prints, with the versions that --version and `storage info` name.",
    example: "llmspell storage export --backend sqlite --output x.json --verbose",
  },
  E_IO: {
    cause: "The operating system refused to read or write a file, or a file changed while it was read.",
    remedy:
      "The line `Caused by:` has the system's own words. Check the disk, the mount and the folder's rights; set TMPDIR where it is about temporary files.",
    example: "TMPDIR=/data/tmp llmspell storage import --backend postgres --input big.json.zst",
  },
  E_DISK_FULL: {
    cause: "The disk, the quota or the tmpfs of the output, of TMPDIR, of the database or of its WAL (pg_wal) is full.",
    remedy:
      "Make room, or write elsewhere; a compressed document takes a fraction. The old document, or the database as it was, is still there.",
    example: "llmspell storage export --backend postgres --output /data/backup.json.zst",
  },
  E_USAGE: {
    cause: "An option, an argument or a combination of them that does not exist or makes no sense.",
    remedy: "The hint names what was probably meant. `llmspell help COMMAND` lists what a command takes.",
    example: "llmspell help storage export",
  },
  E_CONFIG: {
    cause: "A value of config.toml or of the environment is not of its type, or two of them contradict each other.",
    remedy:
      "The message names file and key. Correct it, or name another file with --config; flags are stronger than both.",
    example: "llmspell --config ./mine.toml database health",
  },
  E_JQ_SYNTAX: {
    cause:
      "The text behind --jq is not a jq program: a quote, a bracket or a name is missing, often eaten by the shell.",
    remedy: "The hint points at the place. Put the expression into single quotes.",
    example: "--jq '.data.sessions |= map(select(.status == \"active\"))'",
  },
  E_JQ_UNSUPPORTED: {
    cause: "The expression looks at the whole document at once, which a stream cannot give it.",
    remedy: "Write it per record or per section (docs/jq.md), or export, run jq on the file, and import that.",
    example: "jq 'EXPRESSION' full.json > new.json && llmspell storage import --backend sqlite --input new.json",
  },
  E_PLUGIN_LOAD: {
    cause:
      "The module of --plugin is not there, does not load, exports no defineTransform(…), or does not take the options given.",
    remedy: "A path begins with ./ or /; options stand behind it as a JSON object. docs/plugins.md shows a whole one.",
    example: '--plugin \'./tidy.mjs:{"before":"2024-01-01"}\'',
  },
  E_OUTPUT_EXISTS: {
    cause:
      "Under the output's name is what this tool did not write: another document, a database, a folder that is neither empty nor an export directory.",
    remedy: "Choose another name, or --force where a file may go. An export over an older export needs no --force.",
    example: "llmspell storage export --backend sqlite --output notes.json --force",
  },
  E_INPUT_NOT_FOUND: {
    cause:
      "The file of --input or of a STORE is not there, is a folder that holds no export, or may not be read by this user.",
    remedy: "Check name and rights: `ls -l FILE`. `-` is standard input.",
    example: "gunzip -c export.json.gz | llmspell storage import --backend sqlite --input -",
  },
  E_STORE_NOT_FOUND: {
    cause: "The SQLite file, the folder of an embedded PostgreSQL, or the server's database of that name is not there.",
    remedy:
      "Check the name that the message has. `llmspell database migrate` makes an SQLite file or an embedded database, `createdb` one of a server.",
    example: "createdb llmspell_prod && llmspell database migrate --backend postgres",
  },
  E_CONNECT: {
    cause: "No server answers at that host and port, the name has no address, or TLS could not be agreed on.",
    remedy: "Check the URL and that PostgreSQL runs (`pg_isready`); docs/connections.md has TLS, services and sockets.",
    example: "pg_isready -h db.example -p 5432",
  },
  E_CONNECTION_TIMEOUT: {
    cause: "The server refused, was starting up or kept silent until the time was over (30 seconds by default).",
    remedy:
      "Check that it runs and that no firewall drops the packets; raise [storage.postgresql] connection_timeout_seconds for one that is slow to start.",
    example: "Connection timeout after 30 seconds [E_CONNECTION_TIMEOUT]",
  },
  E_CONNECTION_LOST: {
    cause: "The server, a pooler or the network ended the connection during the run.",
    remedy:
      "Look into the server's log, then run the command again: an import that was not committed has changed nothing, and one that was is found unchanged.",
    example: "SELECT pg_terminate_backend(…) by an administrator, or a restart of the server",
  },
  E_AUTHENTICATION: {
    cause: "User or password are wrong, or pg_hba.conf does not let this user in from here.",
    remedy:
      "Check the password (PGPASSFILE, DATABASE_URL; percent-encode special characters), and the server's pg_hba.conf.",
    example: "psql 'postgresql://llmspell@localhost/llmspell_prod' -c 'SELECT 1'",
  },
  E_PERMISSION: {
    cause: "The role, or on files the user, lacks a right that the run needs.",
    remedy: "The hint has the GRANT. `llmspell database health` lists everything that an import would lack.",
    example: "GRANT USAGE ON SCHEMA llmspell TO reader;",
  },
  E_ROW_SECURITY: {
    cause: "Row-level security would hide other tenants' rows from the role, so that an export would not be whole.",
    remedy: "Use a role with BYPASSRLS or a superuser, or move one tenant with --tenant.",
    example: "llmspell storage export --backend postgres --tenant acme --output acme.json",
  },
  E_READ_ONLY: {
    cause: "The target is a standby, a read-only database or role, or a file or folder that cannot be written.",
    remedy: "Name the primary; reset default_transaction_read_only; or choose a folder that can be written.",
    example: "ALTER ROLE llmspell RESET default_transaction_read_only;",
  },
  E_LOCKED: {
    cause:
      "Another process or transaction holds the file, the database, tables or rows, and did not let go in time; or another export writes into the directory.",
    remedy:
      "Wait for it to end, or end it: pg_stat_activity names sessions of PostgreSQL, `fuser FILE` processes on an SQLite file.",
    example: "SELECT pid, state, query FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) = 0;",
  },
  E_NOT_A_DATABASE: {
    cause: "The file is no SQLite database, is encrypted, or its pages are damaged.",
    remedy:
      "Check that it is the right file: `file NAME`. For a damaged one restore a backup, or try sqlite3's .recover into a new file.",
    example: "sqlite3 broken.db .recover | sqlite3 saved.db",
  },
  E_HOT_JOURNAL: {
    cause:
      "A -wal, -shm or -journal of an earlier writer stands beside the file, and cannot be applied where it is (or its database is gone).",
    remedy: "Copy the database with these files to a folder that can be written, and read it there.",
    example: "cp llmspell.db llmspell.db-wal /data/copy/ && llmspell storage info /data/copy/llmspell.db",
  },
  E_DOCUMENT_PARSE: {
    cause:
      "The input is not JSON: another format, a second document behind the first, or a file that was edited by hand.",
    remedy:
      "The line `Caused by:` has line and column. `jq empty FILE` finds the same place. Other forms (xz, zip, a database) are named, with a command that reads them.",
    example: "Failed to parse export JSON [E_DOCUMENT_PARSE]",
  },
  E_DOCUMENT_TRUNCATED: {
    cause:
      "The document ends in the middle: a copy or a download was cut short, or the export that wrote it into a pipe failed.",
    remedy: "Copy it again, or export again. Nothing was imported.",
    example: "llmspell storage export --backend postgres --output - | ssh host 'cat > copy.json' (use set -o pipefail)",
  },
  E_DOCUMENT_TRAILING: {
    cause: "Behind the closing brace of the document comes something else, often a second document.",
    remedy: "Import the documents one by one.",
    example: "cat a.json b.json > both.json is no document",
  },
  E_DOCUMENT_VERSION: {
    cause: "The document has no version, or that of a newer release.",
    remedy: "Read it with the release that wrote it, or a newer one; the manifest's producer names it.",
    example: "jq '.version, .manifest.producer' export.json",
  },
  E_DOCUMENT_SHAPE: {
    cause: "A section is no array, a record no object, or a part of the header has another JSON type than it must.",
    remedy:
      "The message names the place; docs/document-format.md has the form. A jq filter that takes records out of their array does this.",
    example: "jq '.data.sessions |= map(select(.status == \"active\"))' (map keeps the array)",
  },
  E_DOCUMENT_DUPLICATE: {
    cause: "A section, or a name within a record, is there twice, and JSON does not say which counts.",
    remedy: "Take one of them out. Documents are put together with jq, section by section, not with cat.",
    example: "jq -s '.[0].data.sessions += .[1].data.sessions | .[0]' a.json b.json > both.json",
  },
  E_DOCUMENT_LIMIT: {
    cause:
      "A name, a value of the header or the nesting is larger than in any export: the file is something else, or made to do harm.",
    remedy: "Check where it comes from; docs/security.md has the limits.",
    example: "a field's name of a megabyte",
  },
  E_DOCUMENT_MANIFEST: {
    cause:
      "Counts or digests of the manifest are not those of the content: the document was damaged, or edited by a program that left the manifest in; or files of an export directory are missing, cut or others.",
    remedy:
      "For damage, copy it again, all files of a directory. For an edit that was meant, --no-verify-manifest, or `del(.manifest)` in jq.",
    example: "llmspell storage import --backend sqlite --input edited.json --no-verify-manifest",
  },
  E_DOCUMENT_COMPRESSION: {
    cause: "The gzip or zstd data is damaged or ends early.",
    remedy: "`gzip -t FILE` or `zstd -t FILE` shows the same. Copy it again, in binary mode.",
    example: "zstd -t backup.json.zst",
  },
  E_SOURCE_DAMAGED: {
    cause:
      "An index of the source has other rows than its table, or pages cannot be read: the disk, memory or a collation change.",
    remedy:
      "REINDEX the table the message names, then run it again; where data is lost, restore a backup, or --on-error skip takes what can be read.",
    example: "REINDEX TABLE llmspell.sessions;",
  },
  E_NO_RECORDS: {
    cause:
      "The database, or what --tenant, --include and transforms leave of it, has no records, and the document of that name has some.",
    remedy: "Check that it is the right database and tenant. --allow-empty replaces the document all the same.",
    example: "llmspell storage info --backend postgres",
  },
  E_LEFT_OUT: {
    cause:
      "With --strict: the source has tables, columns or rows that llmspell does not have, which the run would not take.",
    remedy: "Look at what is named. Without --strict the run goes on without it, and warns.",
    example: "llmspell storage info --backend sqlite",
  },
  E_MISSING_FIELD: {
    cause: "A record of the document lacks a field that has no default, or has null where none may be.",
    remedy: "Add it, with jq for instance; or --on-error skip --rejects FILE leaves such records out.",
    example: "jq '.data.sessions[] |= (.status //= \"active\")' export.json > repaired.json",
  },
  E_FIELD_TYPE: {
    cause: "A value has another JSON or SQLite type than its field: a text for a number, a float for an integer.",
    remedy:
      "Correct the record that is named (docs/document-format.md has the types), or leave it out with --on-error skip --rejects FILE.",
    example: '"created_at": "yesterday"',
  },
  E_INVALID_UUID: {
    cause: "In SQLite and documents ids may be any text; PostgreSQL holds UUIDs only.",
    remedy:
      "--invalid-uuid derive makes UUIDs of them, the same everywhere, and --id-map FILE keeps what brings them back.",
    example: "llmspell storage import --backend postgres --input dev.json --invalid-uuid derive --id-map ids.map",
  },
  E_INVALID_UTF8: {
    cause: "Bytes that are no UTF-8 were put into a text, or half of a character pair stands alone.",
    remedy: "Correct the value in the source, or leave the record out with --on-error skip --rejects FILE.",
    example: "iconv -f latin1 -t utf8 export.json > export-utf8.json",
  },
  E_INVALID_JSON: {
    cause: "A column or field that holds json has a text that is none.",
    remedy: "Correct it in the source, or leave the record out with --on-error skip --rejects FILE.",
    example: "UPDATE sessions SET session_data = '{}' WHERE NOT json_valid(session_data);",
  },
  E_INVALID_BASE64: {
    cause: "An embedding or content of the document is not base64: cut, with line breaks, or edited.",
    remedy: "Export again; embeddings may also be written as arrays of numbers (--vectors json).",
    example: "llmspell storage export --backend sqlite --output readable.json --vectors json",
  },
  E_INVALID_EMBEDDING: {
    cause: "A vector's row has no embedding beside it, or one in a form that nothing here knows.",
    remedy: "Embed the text anew in llmspell, or leave the record out with --on-error skip --rejects FILE.",
    example: "llmspell's own exporter loses embeddings: export its .db file with this tool instead",
  },
  E_DIMENSION_MISMATCH: {
    cause: "An embedding has another number of dimensions than its section, after a change of the embedding model.",
    remedy: "Move it into the section of its dimension, or embed anew (examples/plugins/reembed.mjs).",
    example: "Dimension mismatch: expected 1536, got 768 [E_DIMENSION_MISMATCH]",
  },
  E_LARGE_OBJECT_MISSING: {
    cause:
      "An artifact's content was in a large object of PostgreSQL that somebody removed (vacuumlo, a dump without -b).",
    remedy: "Restore it from a backup (pg_dump -b), or leave the artifact out with --on-error skip --rejects FILE.",
    example: "pg_dump --large-objects -t 'llmspell.*' llmspell_prod",
  },
  E_TOO_LONG: {
    cause: "PostgreSQL's column has a length, SQLite's and the document's have none.",
    remedy: "Shorten the value (--jq, --plugin), or leave the record out with --on-error skip --rejects FILE.",
    example: "--jq '.data.sessions[].tenant_id |= .[:255]'",
  },
  E_OUT_OF_RANGE: {
    cause: "A number or a time that the target's column cannot hold, such as a time after 294276 AD.",
    remedy:
      "Correct the value. Often the unit is wrong: --times us or --times s for documents of llmspell's own exporter.",
    example: "llmspell storage import --backend postgres --input old.json --times s",
  },
  E_NUL_CHARACTER: {
    cause: "PostgreSQL's text and jsonb cannot hold the character U+0000; SQLite can.",
    remedy: "Take it out (--jq, --plugin), or leave the record out with --on-error skip --rejects FILE.",
    example: '--jq \'.data.kv_store[].value |= gsub("\\u0000"; "")\'',
  },
  E_LONE_SURROGATE: {
    cause: "A json value has half of a character pair (\\ud83d without its second half), which jsonb refuses.",
    remedy:
      "A program cut a text in the middle of an emoji. Correct it, or leave the record out with --on-error skip --rejects FILE.",
    example: '{"title": "smile \\ud83d"}',
  },
  E_ENCODING: {
    cause: "The PostgreSQL database is not in UTF-8, and its encoding has no such character.",
    remedy: "Move to a database in UTF-8, or leave such records out with --on-error skip --rejects FILE.",
    example: "CREATE DATABASE llmspell_prod ENCODING 'UTF8' TEMPLATE template0;",
  },
  E_NOT_FINITE: {
    cause: "An embedding holds NaN or an infinity; SQLite and documents keep it, pgvector does not.",
    remedy: "Embed the text anew, or leave the record out with --on-error skip --rejects FILE.",
    example: "llmspell storage import --backend postgres --input dev.json --on-error skip --rejects rejects.ndjson",
  },
  E_CHECK: {
    cause:
      "The record breaks a rule of the schema: a status that is none, an end before its begin, a number below zero.",
    remedy: "The message has the rule. Correct the record, or leave it out with --on-error skip --rejects FILE.",
    example: '--jq \'.data.sessions[].status |= if . == "open" then "active" else . end\'',
  },
  E_TARGET_LIMIT: {
    cause:
      "The target database's own limit: an index row of more than 2704 bytes, json nested too deep, a value of 1 GB, locks, rowids.",
    remedy: "The hint names the limit. Shorten the value, or raise the server's setting.",
    example: "ALTER SYSTEM SET max_locks_per_transaction = 256; and a restart of the server",
  },
  E_JQ: {
    cause: "The expression raised an error at this record, or gave something that is no record of the section.",
    remedy: "Write it so that it takes every record: `?`, `//`, `if … then … else . end`.",
    example: "--jq '.data.sessions[].session_data.email |= if type == \"string\" then ascii_downcase else . end'",
  },
  E_JQ_LIMIT: {
    cause:
      "For one record, or when jq compiled it, the expression ran longer than --jq-timeout, or took too much memory.",
    remedy: "Look for a loop without an end, or for a constant that is large; otherwise raise --jq-timeout.",
    example: "llmspell storage export --backend sqlite --output x.json --jq 'EXPRESSION' --jq-timeout 120",
  },
  E_PLUGIN: {
    cause: "The plugin threw an error at this record, ended the process, or gave something that is no record.",
    remedy: "`Caused by:` has the plugin's own words; --verbose its stack.",
    example: "the plugin tidy failed: Cannot read properties of undefined [E_PLUGIN]",
  },
  E_PLUGIN_TIMEOUT: {
    cause:
      "A call of the plugin took longer than --plugin-timeout: a service that does not answer, a promise that never settles.",
    remedy: "Look at what it waits for; otherwise raise --plugin-timeout.",
    example: "llmspell storage export --backend sqlite --output x.json --plugin ./reembed.mjs --plugin-timeout 300",
  },
  E_ORPHAN: {
    cause:
      "The record refers to one that is neither in the target nor in the run: its session or content was filtered out or never there.",
    remedy: "Import the parents too (--include), or --on-orphan drop leaves such records out and counts them.",
    example: "llmspell storage import --backend postgres --input filtered.json --on-orphan drop",
  },
  E_PARENT_REJECTED: {
    cause: "With --on-error skip: the session or content that this record belongs to was rejected itself.",
    remedy: "Repair the parent, which stands in the rejects file with its own reason; then import both.",
    example: "jq -r 'select(.code != \"E_PARENT_REJECTED\") | [.section, .key, .code] | @tsv' rejects.ndjson",
  },
  E_CONFLICT: {
    cause:
      "With --on-conflict error: a record of the same key is in the target already. With any: records without a key, which nothing tells apart, go into an empty table only.",
    remedy:
      "--on-conflict update replaces it, --on-conflict skip leaves it; a table without a key is emptied first, or left out with --exclude.",
    example: "llmspell storage import --backend postgres --input data.json --on-conflict skip",
  },
  E_TENANT_CONFLICT: {
    cause: "The target has a record with this id under another tenant: the same data was imported for two tenants.",
    remedy:
      "Ids are unique in the whole database. Import into another database, or leave the tenant as it was (--map-tenant).",
    example: "llmspell storage import --backend postgres --input data.json --map-tenant acme-staging=acme",
  },
  E_KEY_CONFLICT: {
    cause: "Two records of the run, or one of the run and two rows of the target, have the same unique key.",
    remedy: "The message names both. Take one of them out, or change its key.",
    example: "--map-tenant a=b where both tenants have a session of the same id",
  },
  E_NOT_MIGRATED: {
    cause: "The target has no schema of llmspell, or an older one.",
    remedy: "Run `llmspell database migrate`; it completes what is there and changes no data.",
    example: "llmspell database migrate --backend postgres",
  },
  E_SCHEMA: {
    cause: "The schema was changed by hand, is damaged, or belongs to a newer release.",
    remedy: "`llmspell database health` names what is missing or broken, with the statement that mends it.",
    example: "llmspell database health --backend postgres",
  },
  E_CONSTRAINT: {
    cause:
      "The database refused a record by a rule that is not llmspell's: a constraint, an index or a trigger of your own.",
    remedy:
      "`Caused by:` has the database's words. Change the record or the rule, or leave it out with --on-error skip --rejects FILE.",
    example: "a unique index of the target refuses the record [E_CONSTRAINT]",
  },
  E_NOT_EMPTY: {
    cause: "--require-empty: the target has records of the selected sections already.",
    remedy: "Name another target, or leave these options out: the records are then merged.",
    example: "llmspell storage info --database target.db",
  },
  E_RUN_UNFINISHED: {
    cause:
      "A load over several connections (--jobs) came to no end: a process, the server or the network died. What it has loaded is there, and listed in the target.",
    remedy:
      "`storage resume`, with the options that it was begun with, goes on with it; `storage undo` takes it back (docs/runs.md).",
    example: "llmspell storage runs --backend postgres",
  },
  E_RUN_TAKEN: {
    cause:
      "Another process resumed or undid the run while this one was still at it: what this one had not committed yet is not there.",
    remedy: "Nothing is to be done here: the other process has the run.",
    example: "llmspell storage runs --backend postgres",
  },
  E_READ_BACK: {
    cause:
      "--verify-parts read a part of a run back, in its transaction, and the target had not what was sent: a trigger changes rows, or disk or memory of the server are damaged.",
    remedy: "The part was rolled back. Mend the cause, then resume the run, or undo it.",
    example: "llmspell storage resume --backend postgres --input dev-data.json --verify-parts",
  },
  E_NO_EFFECT: {
    cause:
      "No record of the section had what a mask names: what should be hidden may stand under another name. Or neither store of `storage verify`, or not that of `storage digest`, has a record of a tenant that was named: nothing was compared.",
    remedy:
      "Look at a record's keys, and correct the path; --mask-optional is for paths that may be absent. `storage info --tenants` lists tenants.",
    example: "llmspell storage export --output - --limit 1 --include sessions | jq '.data.sessions[0]'",
  },
  E_DOCUMENT_INVALID: {
    cause: "`storage validate` found what an import would refuse.",
    remedy:
      "The lines name the first finding of each kind; --findings FILE has all of them, with their lines in the document.",
    example: "llmspell storage validate backup.json --for postgres --findings findings.ndjson",
  },
  E_REJECTED: {
    cause: "With --on-error skip: records could not go on. The others are committed.",
    remedy: "Look at each in the file of --rejects, repair them, and import those (docs/errors.md has the command).",
    example: "jq -r .code rejects.ndjson | sort | uniq -c",
  },
  E_DIFFERENT: {
    cause: "Two stores that were compared do not hold the same.",
    remedy: "Look at the sections and keys that are named: was one written to after the copy?",
    example: "llmspell storage info copy.db",
  },
  E_INTERRUPTED: {
    cause: "Ctrl-C. The run was rolled back.",
    remedy: "Run the command again.",
    example: "exit status 130",
  },
  E_TERMINATED: {
    cause: "SIGTERM or SIGHUP: a service manager, a time limit, a closed terminal. The run was rolled back.",
    remedy: "Run the command again, outside of what ended it (tmux, nohup, a longer time limit).",
    example: "exit status 143",
  },
  E_CLOSED_PIPE: {
    cause: "The program behind the pipe ended before the document did.",
    remedy: "With `head` that is what was wanted; otherwise look at that program's error.",
    example: "llmspell storage export --backend sqlite --output - | head -c 1000",
  },
};

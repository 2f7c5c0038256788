/** An id map as a file of JSON lines, held in a temporary database while it is used: there may be millions of ids. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import Database from "better-sqlite3";
import { openFileOutput } from "../../document/files/output.js";
import { StorageError } from "../../errors.js";
import type { IdMap } from "../../records/ids/id-map.js";
import { fromSqliteError } from "./errors.js";

const HEAD = '{"id_map":"1.0"}';
/** Found ids that are kept at hand. */
const RECENT = 4096;
/** Bytes that are written at a time. */
const CHUNK_BYTES = 262144;

/** The file: HEAD, a line `{"domain":…,"uuid":…,"id":…}` for each id, and how many these are. `adds`: it need not be there. */
export function createIdMap(path: string, { adds }: { readonly adds: boolean }): IdMap {
  let database: Database.Database | undefined;
  let insert: Database.Statement | undefined;
  let select: Database.Statement | undefined;
  const recent = new Map<string, string | undefined>();

  function remember(key: string, id: string | undefined): void {
    if (recent.size >= RECENT) recent.clear();
    recent.set(key, id);
  }

  return {
    async open() {
      try {
        // A database without a name is a temporary file that nobody else can open.
        database = new Database("");
        database.exec(
          "CREATE TABLE ids (domain TEXT, uuid TEXT, id TEXT, PRIMARY KEY (domain, uuid, id)) WITHOUT ROWID",
        );
        database.exec("BEGIN");
        insert = database.prepare("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)");
        select = database.prepare("SELECT id FROM ids WHERE domain = ? AND uuid = ? LIMIT 1").pluck();
        for await (const [domain, uuid, id] of readEntries(path, adds)) insert.run(domain, uuid, id);
      } catch (error) {
        throw fromSqliteError(error);
      }
    },
    add(domain, uuid, id) {
      const key = `${domain}\n${uuid}`;
      if (recent.get(key) === id) return;
      insert?.run(domain, uuid, id);
      remember(key, id);
    },
    find(domain, uuid) {
      const key = `${domain}\n${uuid}`;
      if (recent.has(key)) return recent.get(key);
      const id = select?.get(domain, uuid) as string | undefined;
      remember(key, id);
      return id;
    },
    async save() {
      if (database === undefined) throw new Error("the id map is not open");
      const output = await openFileOutput(path, true);
      try {
        let lines = `${HEAD}\n`;
        let entries = 0;
        const rows = database.prepare("SELECT domain, uuid, id FROM ids ORDER BY domain, uuid, id").raw();
        for (const [domain, uuid, id] of rows.iterate() as Iterable<[string, string, string]>) {
          entries++;
          lines += `${JSON.stringify({ domain, uuid, id })}\n`;
          if (lines.length < CHUNK_BYTES) continue;
          await output.write(Buffer.from(lines, "utf8"));
          lines = "";
        }
        await output.write(Buffer.from(`${lines}{"entries":${entries}}\n`, "utf8"));
        await output.finish();
        const query = "SELECT count(*) FROM (SELECT 1 FROM ids GROUP BY domain, uuid HAVING count(*) > 1)";
        return database.prepare(query).pluck().get() as number;
      } finally {
        await output.abort();
      }
    },
    close() {
      database?.close();
      database = undefined;
    },
  };
}

type Entry = readonly [domain: string, uuid: string, id: string];

async function* readEntries(path: string, mayLack: boolean): AsyncGenerator<Entry> {
  const size = await stat(path).then(
    (stats) => stats.size,
    () => undefined,
  );
  if (size === undefined && !mayLack)
    throw new StorageError("E_INPUT_NOT_FOUND", `the id map ${path} does not exist`, {
      hint: "Here it is read, to bring ids back; --invalid-uuid derive writes one where ids become UUIDs.",
    });
  if (mayLack && !size) return;
  let number = 0;
  let entries = 0;
  let said: number | undefined;
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    number++;
    if (number === 1 && line !== HEAD) throw noIdMap(path, mayLack);
    if (number === 1) continue;
    const value = parseLine(line);
    if (said !== undefined || value === undefined)
      throw new StorageError("E_DOCUMENT_SHAPE", `line ${number} of the id map ${path} is none of an id map`, {
        hint: "Take the file as --id-map wrote it: what was changed by hand may bring back wrong ids.",
      });
    if (typeof value === "number") said = value;
    else {
      entries++;
      yield value;
    }
  }
  if (number === 0) throw noIdMap(path, mayLack);
  if (said !== entries)
    throw new StorageError("E_DOCUMENT_TRUNCATED", `the id map ${path} is not complete`, {
      detail: said === undefined ? "it stops before its last line" : `it has ${entries} ids of ${said}`,
      hint: "The file was cut short: copy it again, or make it anew with the run that wrote it.",
    });
}

function noIdMap(path: string, adds: boolean): StorageError {
  return new StorageError(
    adds ? "E_OUTPUT_EXISTS" : "E_DOCUMENT_SHAPE",
    `--id-map names a file that is no id map: ${path}`,
    {
      hint: adds
        ? "Give it the map of an earlier run, or a new name: where ids become UUIDs it is written."
        : "Give it the map that was written where ids became UUIDs.",
    },
  );
}

/** An id, or the number of the last line; undefined for anything else. */
function parseLine(line: string): Entry | number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const { domain, uuid, id, entries } = (value ?? {}) as Record<string, unknown>;
  if (typeof entries === "number") return entries;
  return typeof domain === "string" && typeof uuid === "string" && typeof id === "string"
    ? [domain, uuid, id]
    : undefined;
}

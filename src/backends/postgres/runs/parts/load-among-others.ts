/**
 * Loads a part of a run that is resumed into a table where others have rows by now: they may have changed records that an earlier
 * part had brought. Those stay as they made them, as those of parts that are not loaded again do.
 */
import { quote } from "../../database/table-names.js";
import { columnNamed, loadColumns, type TargetTable } from "../../database/target-table.js";
import { readKeys } from "../../loading/stored-records.js";
import type { PostgresConnection } from "../../session/connection.js";
import type { LedgerTables, RunRow } from "../ledger/ledger.js";
import type { Part } from "./part-cutter.js";
import { createSent, SENT } from "./verify-part.js";

/** So many records that stay are named. */
const NAMED = 3;

/**
 * Gives how many records it has loaded, for how many others' stay, and a line of these. To be called in the part's transaction; `isSent`: again, with more
 * of the part.
 */
export async function loadAmongOthers(
  connection: PostgresConnection,
  {
    table,
    part,
    ledger,
    run,
    isSent = false,
  }: { table: TargetTable; part: Part; ledger: LedgerTables; run: RunRow; isSent?: boolean },
): Promise<{ readonly loaded: number; readonly kept: number; readonly line: string | undefined }> {
  const { kind } = table;
  const columns = loadColumns(kind).join(", ");
  if (isSent) await connection.query(`TRUNCATE ${SENT}`);
  else await createSent(connection, table.name, columns);
  const sql = `COPY ${SENT} (${columns}) FROM STDIN (FORMAT binary)`;
  await connection.copyFrom(sql, part.encoder.data(0, part.records));
  const same = kind.key.map((field) => columnNamed(kind, field)).map((column) => `t.${column} = s.${column}`);
  // What the run itself has loaded twice is refused by the key's index.
  const isOthers = `EXISTS (SELECT FROM ${table.name} t WHERE ${same.join(" AND ")} AND NOT EXISTS (
      SELECT FROM ${ledger.parts} p WHERE p.run = ${Number(run.run)} AND (p.transaction::text::numeric % 4294967296)::text = t.xmin::text))`;
  const { largeObject } = kind.postgres;
  if (largeObject !== undefined) {
    const oid = `s.${quote(largeObject.oidColumn)}`;
    await connection.query(
      `SELECT count(pg_catalog.lo_unlink(${oid})) FROM ${SENT} s WHERE ${oid} IS NOT NULL AND ${isOthers}`,
    );
  }
  const { rowCount } = await connection.query(
    `INSERT INTO ${table.name} (${columns}) SELECT ${columns} FROM ${SENT} s WHERE NOT ${isOthers}`,
  );
  const loaded = rowCount ?? 0;
  if (loaded === part.records) return { loaded, kept: 0, line: undefined };
  const from = `FROM ${SENT} s WHERE ${isOthers}`;
  const keys = await readKeys(connection, kind, "s", `${from} LIMIT ${NAMED}`);
  const { rows } = await connection.query<{ count: bigint }>(`SELECT count(*) AS count ${from}`);
  const kept = Number(rows[0]?.count ?? 0n);
  const more = kept > keys.length ? `, and ${kept - keys.length} more` : "";
  const line = `${kind.path}: ${kept} of the source's records stay as others have changed or added them since: ${keys.join("; ")}${more}`;
  // What stays as others have it was not loaded.
  await connection.query(`DELETE FROM ${SENT} s WHERE ${isOthers}`);
  return { loaded, kept, line };
}

/** Workers load empty tables only: records that were to be merged would have to wait for all of the parts. */
import { StorageError } from "../../../../errors.js";
import type { TargetTable } from "../../database/target-table.js";
import { mayGoDirectly } from "../../loading/table-loader.js";
import type { PostgresConnection } from "../../session/connection.js";

/** @throws {StorageError} E_NOT_EMPTY; E_SCHEMA where the table's indexes do not tell all records apart */
export async function requireEmptyTable(connection: PostgresConnection, table: TargetTable): Promise<void> {
  const { rows } = await connection.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${table.name}) AS filled`);
  if (rows[0]?.filled !== true && (mayGoDirectly(table) || table.kind.keyless === true)) return;
  const { path } = table.kind;
  const hint = `Without --queue a run merges (--jobs), and so does a load with one job; or leave the section out (--exclude ${path}).`;
  if (rows[0]?.filled === true)
    throw new StorageError("E_NOT_EMPTY", "workers load empty tables only, and this one has records", {
      section: path,
      hint,
    });
  throw new StorageError("E_SCHEMA", "workers need a unique index for each key of the table", { section: path, hint });
}

/** Whose large contents are in llmspell's database: only an owner may unlink a large object, and llmspell does. */
import type { LargeObjectOwner } from "../../backends/postgres/application.js";
import type { TargetTable } from "../../backends/postgres/database/target-table.js";
import type { PostgresConnection } from "../../backends/postgres/session/connection.js";
import { APPLICATION_ROLE, APPLICATION_ROLE_OID, RECEIVING_ROLE } from "./application-role.js";

/** Whether llmspell works as another role than the session's, and the table ($1) has no trigger that unlinks in its place. */
const WITHHELD = `
  ${APPLICATION_ROLE_OID} = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = '${APPLICATION_ROLE}' AND rolname <> current_user)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                  WHERE tgrelid = $1 AND tgname = 'trigger_unlink_large_object')`;

/** llmspell's role, where the session's can give it something; otherwise, where that matters, what to do. */
export async function largeObjectOwner(connection: PostgresConnection, table: TargetTable): Promise<LargeObjectOwner> {
  const { rows } = await connection.query<{ role: string | null; withheld: boolean }>(
    `SELECT ${RECEIVING_ROLE} AS role, ${WITHHELD} AS withheld`,
    [table.oid],
  );
  const { role = null, withheld = false } = rows[0] ?? {};
  if (role !== null) return { role };
  if (!withheld) return {};
  return {
    note:
      `large contents will stay behind when llmspell deletes their artifacts, for they are not ${APPLICATION_ROLE}'s: ` +
      "run `llmspell database migrate`, or import as a superuser or a member of that role",
  };
}

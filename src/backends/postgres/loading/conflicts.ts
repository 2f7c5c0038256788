/**
 * The rules of ARCHITECTURE.md, "Conflicts", on a staged set. Rules 3, 4 and 5 look at a record alone and come first, so
 * that a record they refuse takes no part in rule 1.
 */
import { columnOf, type Field, tenantFieldOf, uniqueKeysOf } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import { quote } from "../database/table-names.js";
import { columnNamed } from "../database/target-table.js";
import { PAGE, type Refused, type StagedRecords } from "./staged-records.js";
import { readKeys } from "./stored-records.js";

export type ConflictPolicy = "update" | "skip" | "error";

/** Refuses the records that no policy lets in, or that the policy "error" does not. */
export async function refuseConflicts(records: StagedRecords, policy: ConflictPolicy): Promise<void> {
  await records.refuse(() => matchingTwoRows(records));
  const tenant = tenantFieldOf(records.kind);
  if (tenant !== undefined) await records.refuse(() => ofAnotherTenant(records, tenant));
  if (policy === "error") await records.refuse(() => matchingAny(records));
  await refuseMeetings(records);
}

async function ordinals(records: StagedRecords, from: string): Promise<bigint[]> {
  const { rows } = await records.connection.query<{ ordinal: bigint }>(
    `SELECT ordinal ${from} ORDER BY ordinal LIMIT ${PAGE}`,
  );
  return rows.map(({ ordinal }) => ordinal);
}

/** Rule 3. */
async function matchingTwoRows(records: StagedRecords): Promise<Refused[]> {
  const { connection, kind, matches, table } = records;
  const refused: Refused[] = [];
  for (const ordinal of await ordinals(records, `FROM ${matches} GROUP BY ordinal HAVING count(*) > 1`)) {
    const rows = await readKeys(
      connection,
      kind,
      "t",
      `FROM ${matches} m JOIN ${table.name} t ON t.tableoid = m.tab AND t.ctid = m.tid WHERE m.ordinal = $1`,
      [ordinal],
    );
    const error = new StorageError("E_KEY_CONFLICT", `the record matches ${rows.length} rows of the target`, {
      detail: `the rows are ${rows.sort().join(" and ")}`,
    });
    refused.push({ ordinal, error });
  }
  return refused;
}

/** Rule 4. */
async function ofAnotherTenant(records: StagedRecords, tenant: Field): Promise<Refused[]> {
  const { matches, staging } = records;
  const from = `FROM ${matches} m JOIN ${staging} s USING (ordinal) WHERE s.${quote(columnOf(tenant))} IS DISTINCT FROM m.tenant`;
  return (await ordinals(records, from)).map((ordinal) => ({
    ordinal,
    error: new StorageError("E_TENANT_CONFLICT", "the target has the record under another tenant"),
  }));
}

/** Rule 5, "error". */
async function matchingAny(records: StagedRecords): Promise<Refused[]> {
  return (await ordinals(records, `FROM ${records.matches}`)).map((ordinal) => ({
    ordinal,
    error: new StorageError("E_CONFLICT", "the target already has the record", {
      hint: "--on-conflict update replaces it, --on-conflict skip leaves it.",
    }),
  }));
}

/** Rule 1: of records that share a key or match one row, the one that came first stays. */
async function refuseMeetings(records: StagedRecords): Promise<void> {
  const { connection, kind, staging, matches, temporary } = records;
  const meetings = `${temporary}_meetings`;
  const shared = uniqueKeysOf(kind).map((key, slot) => {
    const columns = key.map((name) => columnNamed(kind, name));
    const same = columns.map((column) => `d.${column} = s.${column}`).join(" AND ");
    const known = columns.map((column) => `${column} IS NOT NULL`).join(" AND ");
    return `SELECT s.ordinal, ${slot} AS slot, d.first FROM ${staging} s JOIN (
        SELECT ${columns.join(", ")}, min(ordinal) AS first FROM ${staging} WHERE ${known}
        GROUP BY ${columns.join(", ")} HAVING count(*) > 1
      ) d ON ${same}`;
  });
  const sameRow = `SELECT m.ordinal, -1 AS slot, d.first FROM ${matches} m JOIN (
      SELECT tab, tid, min(ordinal) AS first FROM ${matches} GROUP BY tab, tid HAVING count(*) > 1
    ) d ON d.tab = m.tab AND d.tid = m.tid`;
  // A group of records that meet is known by its slot and its first record.
  await connection.query(
    `CREATE TEMPORARY TABLE ${meetings.replace("pg_temp.", "")} ON COMMIT DROP AS
     ${[...shared, sameRow].join(" UNION ALL ")}`,
  );
  await records.refuse(async () => {
    const refused = await laterOfMeetings(records, meetings);
    await connection.query(`DELETE FROM ${meetings} WHERE ordinal = ANY ($1)`, [refused.map(({ ordinal }) => ordinal)]);
    return refused;
  });
}

/** Records that meet one which itself comes first in each of its groups, and so is sure to stay. */
async function laterOfMeetings(records: StagedRecords, meetings: string): Promise<Refused[]> {
  const { connection, kind, staging } = records;
  const { rows } = await connection.query<{ ordinal: bigint; head: bigint }>(
    `WITH heads AS (SELECT slot, first, min(ordinal) AS head FROM ${meetings} GROUP BY slot, first),
       staying AS (
         SELECT m.ordinal FROM ${meetings} m JOIN heads h USING (slot, first)
         GROUP BY m.ordinal HAVING bool_and(m.ordinal = h.head))
     SELECT m.ordinal, min(h.head) AS head
     FROM ${meetings} m JOIN heads h USING (slot, first) JOIN staying s ON s.ordinal = h.head
     WHERE m.ordinal <> h.head GROUP BY m.ordinal ORDER BY m.ordinal LIMIT ${PAGE}`,
  );
  const refused: Refused[] = [];
  for (const { ordinal, head } of rows) {
    const [other] = await readKeys(connection, kind, "s", `FROM ${staging} s WHERE s.ordinal = $1`, [head]);
    const error = new StorageError("E_KEY_CONFLICT", "two records of the run meet on one unique key", {
      detail: `the other record is ${other}`,
    });
    refused.push({ ordinal, error });
  }
  return refused;
}

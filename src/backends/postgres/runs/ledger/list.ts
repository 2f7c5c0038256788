/** What a target's ledger says of its runs, for people. Only reads. */
import type { Catalog } from "../../../../catalog/index.js";
import type { PostgresApplication } from "../../application.js";
import { IS_NAMED, namesAsParameters, tableOf } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import { isStaged, MERGED } from "../merging/stages.js";
import { Ledger, type LedgerTables, type RunRow, type RunState } from "./ledger.js";
import { requireLedger } from "./trust.js";

export interface ListedRun {
  readonly run: number;
  readonly state: RunState;
  readonly source: string;
  readonly jobs: number;
  readonly started: string;
  readonly changed: string;
  readonly sections: Readonly<
    Record<string, { readonly parts: number; readonly records: number; readonly bytes: number }>
  >;
  readonly indexesToBuild: readonly string[];
  readonly sectionsToMerge: readonly string[];
  readonly sessions: number;
}

interface SectionRow {
  run: number;
  section: string;
  parts: number;
  records: string;
  bytes: string;
  last: string;
}

export function listRuns(
  connection: PostgresConnection,
  catalog: Catalog,
  application: PostgresApplication | undefined,
): Promise<ListedRun[]> {
  return inTransaction(connection, "read", async () => {
    const { rows } = await connection.query<{ oid: number }>(
      `SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ${IS_NAMED}`,
      namesAsParameters(catalog.kinds.map(tableOf)),
    );
    const tables = await requireLedger(
      connection,
      application,
      rows.map(({ oid }) => oid),
    );
    return readRuns(connection, tables);
  });
}

async function readRuns(connection: PostgresConnection, tables: LedgerTables): Promise<ListedRun[]> {
  const ledger = new Ledger(connection, tables);
  const runs = await ledger.list();
  const { rows } = await connection.query<SectionRow & Record<string, unknown>>(
    `SELECT run, section, count(*)::int4 AS parts, sum(records)::text AS records, sum(bytes)::text AS bytes,
       pg_catalog.to_char(max(loaded_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS last
     FROM ${tables.parts} WHERE digest <> '${MERGED}' GROUP BY run, section ORDER BY run, min(part)`,
  );
  const listed: ListedRun[] = [];
  for (const run of runs)
    listed.push(
      await describe(
        run,
        rows.filter((row) => row.run === run.run),
        ledger,
      ),
    );
  return listed;
}

async function describe(row: RunRow, sections: readonly SectionRow[], ledger: Ledger): Promise<ListedRun> {
  const { run, state, source, jobs, started, changed } = row;
  const isUnfinished = state === "loading" || state === "undoing";
  const steps = isUnfinished ? await ledger.steps(run) : [];
  return {
    run,
    state,
    source,
    jobs,
    started,
    changed: [changed, ...sections.map(({ last }) => last)].reduce((one, other) => (one > other ? one : other)),
    sections: Object.fromEntries(
      sections.map(({ section, parts, records, bytes }) => [
        section,
        { parts, records: Number(records), bytes: Number(bytes) },
      ]),
    ),
    sectionsToMerge: steps.flatMap((step) => (isStaged(step) && !step.done ? [step.section] : [])),
    indexesToBuild: steps.filter(({ what, done }) => what === "index" && !done).map(({ name }) => name),
    sessions: isUnfinished ? await ledger.sessions() : 0,
  };
}

/** Tables that an application has besides the catalog's: their rows are of no record. */
import type { PostgresApplication } from "../backends/postgres/application.js";
import { sqlName, type TableName } from "../backends/postgres/database/table-names.js";
import type { RowSecurity } from "../backends/postgres/reading/row-security.js";
import type { PostgresTable } from "../backends/postgres/reading/tables.js";
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import type { RunContext } from "../records/run-context.js";

export class OtherTables {
  /** By table: why its rows stay behind, where that is to be said. */
  private readonly reasons: ReadonlyMap<string, string | undefined>;

  constructor(private readonly application: PostgresApplication | undefined) {
    this.reasons = application?.otherTables ?? new Map();
  }

  get all(): TableName[] {
    return [...this.reasons.keys()].map((table) => this.named(table));
  }

  /** Those of whose rows, where there are any, a warning tells. */
  get warned(): TableName[] {
    return this.all.filter(({ table }) => this.reasons.get(table) !== undefined);
  }

  /** @param tables those that are there, by their SQL names */
  async warnOfRows(
    connection: PostgresConnection,
    { tables, rowSecurity }: { tables: ReadonlyMap<string, PostgresTable>; rowSecurity: RowSecurity },
    context: RunContext,
  ): Promise<void> {
    for (const name of this.warned) {
      const message = this.reasons.get(name.table) as string;
      if (rowSecurity.hasRows(name)) context.warn(message);
      const table = tables.get(sqlName(name));
      // Where row-level security binds the role, a look could fail and end the snapshot.
      if (table === undefined || !table.readable || table.rowSecurity) continue;
      const { rows } = await connection.query(`SELECT EXISTS (SELECT FROM ${sqlName(name)}) AS found`);
      if (rows[0]?.["found"] === true) context.warn(message);
    }
  }

  private named(table: string): TableName {
    return { schema: this.application?.schema ?? "", table };
  }
}

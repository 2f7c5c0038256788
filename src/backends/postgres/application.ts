/**
 * What an application's PostgreSQL database has besides the columns of its record kinds, where a source or a sink must heed
 * it. All of it is optional: of a database that was only looked at, nothing is known.
 */
import type { RecordBatch } from "../../records/record-batch.js";
import type { TargetTable } from "./database/target-table.js";
import type { PostgresConnection } from "./session/connection.js";

export interface PostgresApplication {
  /** The application's name, for messages. */
  readonly name: string;
  /** The schema of `otherTables`. */
  readonly schema: string;
  /** Its schema's versions, ascending, for a document's header. May raise no error of the server's: it would end the snapshot. */
  readVersions?(connection: PostgresConnection): Promise<string[]>;
  /** Tables that are no kind's, and the warning where they have rows, which stay behind; undefined: nothing is said of them. */
  readonly otherTables?: ReadonlyMap<string, string | undefined>;
  /** The setting that the policies of row-level security compare `tenant_id` with, e.g. `app.tenant`. Without one no role that they bind is let in. */
  readonly tenantSetting?: string;
  /** What makes the partitions of a table that a load writes; undefined where it has no need of any. Default: records must find theirs. */
  partitionsOf?(connection: PostgresConnection, table: TargetTable): PartitionMaker | undefined;
  /** Its migrations make the tables of runs (runs/ledger/ledger.ts) in `schema`. */
  readonly keepsRuns?: true;
  /** Whose the large objects of a table's records become. Default: the table's owner's, where that can be. */
  largeObjectOwner?(connection: PostgresConnection, table: TargetTable): Promise<LargeObjectOwner>;
}

/** Makes partitions for the records of one load, in its transaction. */
export interface PartitionMaker {
  /** Remembers what the record needs. Called for each, before it is sent. */
  note(batch: RecordBatch, row: number): void;
  /** Whether `create` has something to look at. */
  readonly isPending: boolean;
  /** Makes the partitions that the noted records lack. E_PERMISSION. */
  create(): Promise<void>;
}

export interface LargeObjectOwner {
  /** A role that the session's may give them to. */
  readonly role?: string;
  /** A line for the user once one was made, e.g. why the application cannot remove them. */
  readonly note?: string;
}

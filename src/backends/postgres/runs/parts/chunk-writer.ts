/**
 * Writes a worker's part chunk by chunk, in the part's transaction: into its table, into the one where it waits to be merged, or among
 * rows that others have there by now; and reads it back where that is wanted.
 */
import { createHash } from "node:crypto";
import { StorageError } from "../../../../errors.js";
import { ASSUMED, loadColumns, type TargetTable } from "../../database/target-table.js";
import type { LargeObjectWriter } from "../../loading/large-objects.js";
import type { PostgresConnection } from "../../session/connection.js";
import type { LedgerTables, RunRow } from "../ledger/ledger.js";
import type { Stage } from "../merging/stages.js";
import { loadAmongOthers } from "./load-among-others.js";
import type { Part } from "./part-cutter.js";
import { createSent, hashed, requireContents, requireSent, SENT } from "./verify-part.js";

export interface ChunkWay {
  readonly table: TargetTable;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  /** Where the records wait to be merged. Undefined: they go straight into their table. */
  readonly staging: Stage | undefined;
  /** Others have rows in the table, which stay as they are. */
  readonly isAmongOthers: boolean;
  readonly verifies: boolean;
  readonly warn: (line: string) => void;
}

export class ChunkWriter {
  /** What was sent is in SENT, too. */
  private isSent = false;
  /** SHA-256 of what large objects were made of, where they are to be verified. */
  private readonly contents = new Map<number, string>();

  constructor(
    private readonly connection: PostgresConnection,
    private readonly way: ChunkWay,
  ) {}

  /** Makes a large object for a record of the next chunk. */
  async store(writer: LargeObjectWriter, chunks: AsyncIterable<Buffer>): Promise<number> {
    if (!this.way.verifies) return writer.create(chunks);
    const hash = createHash("sha256");
    const oid = await writer.create(hashed(chunks, hash));
    this.contents.set(oid, hash.digest("hex"));
    return oid;
  }

  /** Gives how many of its records are loaded: those that others have are not. */
  async write(chunk: Part): Promise<number> {
    const { connection, way } = this;
    const { table, staging, verifies } = way;
    if (this.isAmongOthers) return this.writeAmongOthers(chunk);
    const relation = staging?.name ?? table.name;
    const columns = [...loadColumns(chunk.kind), ...(staging === undefined ? [] : [ASSUMED])].join(", ");
    const copyInto = (name: string): Promise<number> =>
      connection.copyFrom(`COPY ${name} (${columns}) FROM STDIN (FORMAT binary)`, chunk.encoder.data(0, chunk.records));
    requireTaken(await copyInto(relation), chunk);
    if (!verifies) return chunk.records;
    if (!this.isSent) await createSent(connection, relation, columns);
    this.isSent = true;
    await copyInto(SENT);
    return chunk.records;
  }

  private get isAmongOthers(): boolean {
    const { table, staging, isAmongOthers } = this.way;
    return isAmongOthers && staging === undefined && table.kind.key.length > 0;
  }

  private async writeAmongOthers(chunk: Part): Promise<number> {
    const { table, ledger, run, warn, verifies } = this.way;
    const { isSent } = this;
    const { loaded, kept, line } = await loadAmongOthers(this.connection, { table, part: chunk, ledger, run, isSent });
    this.isSent = true;
    requireTaken(loaded + kept, chunk);
    if (line !== undefined) warn(line);
    // The next chunk takes its place.
    if (verifies) await this.readBack();
    return loaded;
  }

  /** Of all chunks. E_READ_BACK */
  async verify(): Promise<void> {
    if (this.way.verifies && this.isSent && !this.isAmongOthers) await this.readBack();
  }

  private async readBack(): Promise<void> {
    const { table, staging } = this.way;
    await requireSent(this.connection, table.kind, staging?.name ?? table.name);
    await requireContents(this.connection, table.kind, this.contents);
    this.contents.clear();
  }

  /** The transaction was rolled back. */
  reset(): void {
    this.isSent = false;
    this.contents.clear();
  }
}

function requireTaken(rows: number, { records }: Part): void {
  if (rows === records) return;
  throw new StorageError("E_CONSTRAINT", `the table took ${rows} of ${records} records`, {
    hint: "A trigger of it (ENABLE ALWAYS or REPLICA) drops rows.",
  });
}

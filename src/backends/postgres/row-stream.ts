/** A statement's rows in binary form, streamed by COPY or by a cursor: both give the same bytes for every value. */
import type pg from "pg";
import QueryStream from "pg-query-stream";
import type { PostgresConnection } from "./connection.js";
import { fromPostgresError, postgresCause } from "./errors.js";
import type { Select } from "./select.js";
import { CopyDecoder, RecordDecoder, type TupleDecoder } from "./tuple-decoder.js";

/** "copy": `COPY … TO STDOUT (FORMAT binary)`; "cursor": pg-query-stream over `record_send`. */
export type RowMode = "copy" | "cursor";

/** A cursor fetches as many rows as make about this many bytes. */
const FETCH_BYTES = 1048576;
const FETCH_ROWS = 500;

/** Rows one after the other. `close` must be called; leaving a COPY before its end closes the connection. */
export class RowReader {
  private readonly chunks: AsyncIterator<Buffer>;
  private ended = false;

  constructor(
    /** The row at hand. */
    readonly row: TupleDecoder,
    chunks: AsyncIterable<Buffer>,
  ) {
    this.chunks = chunks[Symbol.asyncIterator]();
  }

  /** Goes to the next row without waiting; false when that needs `fill`. */
  next(): boolean {
    return this.row.next();
  }

  /** Waits for more input and goes to the next row; false at the end. */
  async fill(): Promise<boolean> {
    while (!this.ended) {
      const { done, value } = await this.chunks.next();
      if (done === true) {
        this.ended = true;
        this.row.end();
        return false;
      }
      this.row.push(value);
      if (this.row.next()) return true;
    }
    return false;
  }

  async close(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    await this.chunks.return?.();
  }
}

/** How large the rows are, for a cursor: bytes per row as far as known. */
export interface RowSize {
  readonly rowBytes: number;
}

/** @throws {StorageError} from reading; E_UNEXPECTED for mode "copy" on an embedded database */
export function openRows(
  connection: PostgresConnection,
  { expressions, from }: Select,
  columns: number,
  mode: RowMode,
  { rowBytes }: RowSize,
): RowReader {
  if (mode === "copy") {
    const chunks = connection.copyTo(`COPY (SELECT ${expressions.join(", ")} ${from}) TO STDOUT (FORMAT binary)`);
    if (chunks === undefined) throw new Error("an embedded database is read by a cursor");
    return new RowReader(new CopyDecoder(columns), chunks);
  }
  const text = `SELECT record_send(ROW(${expressions.join(", ")})) ${from}`;
  const fetched = Math.max(1, Math.min(FETCH_ROWS, Math.floor(FETCH_BYTES / Math.max(1, rowBytes))));
  return new RowReader(new RecordDecoder(columns), streamCursor(connection, text, fetched));
}

/** QueryStream waits for the server's answer when it is destroyed, which a broken connection never gives. */
class CursorStream extends QueryStream {
  constructor(
    private readonly client: pg.Client,
    text: string,
    batchSize: number,
  ) {
    super(text, [], { batchSize, rowMode: "array" });
  }

  override _destroy(reason: Error, done: (error?: Error | null) => void): void {
    let called = false;
    const finish = (error?: Error | null): void => {
      if (called) return;
      called = true;
      this.client.off("end", onEnd);
      done(error ?? reason);
    };
    const onEnd = (): void => finish();
    this.client.once("end", onEnd);
    if (this.client.connection.stream.destroyed) finish();
    else super._destroy(reason, finish);
  }
}

async function* streamCursor(connection: PostgresConnection, text: string, batchSize: number): AsyncGenerator<Buffer> {
  const { client } = connection;
  const stream = client.query(new CursorStream(client, text, batchSize));
  try {
    for await (const row of stream) yield row[0] as Buffer;
  } catch (error) {
    throw fromPostgresError(error);
  }
}

/** Whether the server answers a COPY (some poolers and compatible servers do not). Run it inside a transaction. */
export async function allowsCopy(connection: PostgresConnection): Promise<boolean> {
  const chunks = connection.copyTo("COPY (SELECT 1) TO STDOUT (FORMAT binary)");
  if (chunks === undefined) return false;
  await connection.query("SAVEPOINT copy_probe");
  try {
    for await (const _ of chunks);
  } catch (error) {
    if (postgresCause(error) === undefined) throw error;
    await connection.query("ROLLBACK TO SAVEPOINT copy_probe");
    return false;
  }
  await connection.query("RELEASE SAVEPOINT copy_probe");
  return true;
}

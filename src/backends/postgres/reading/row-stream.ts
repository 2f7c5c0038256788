/** A statement's rows in binary form, streamed by COPY or by a cursor: both give the same bytes for every value. */
import type { PostgresConnection } from "../session/connection.js";
import { CopyTo } from "../session/copy-to.js";
import { postgresCause } from "../session/errors.js";
import type { Select } from "./select.js";
import { CopyDecoder, type TupleDecoder } from "./tuple-decoder.js";

/** "copy": `COPY … TO STDOUT (FORMAT binary)`; "cursor": FETCHes from a binary cursor. */
export type RowMode = "copy" | "cursor";

/** A cursor fetches as many rows as make about this many bytes. */
const FETCH_BYTES = 1048576;
const FETCH_ROWS = 500;
/** One at a time is open. */
const CURSOR = "llmspell_rows";

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
      this.row.keep();
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
  const text = `SELECT ${expressions.join(", ")} ${from}`;
  if (mode === "copy") {
    const chunks = connection.copyTo(`COPY (${text}) TO STDOUT (FORMAT binary)`);
    if (chunks === undefined) throw new Error("an embedded database is read by a cursor");
    return new RowReader(new CopyDecoder(columns), chunks);
  }
  const fetched = Math.max(1, Math.min(FETCH_ROWS, Math.floor(FETCH_BYTES / Math.max(1, rowBytes))));
  return new RowReader(new CopyDecoder(columns, "rows"), streamCursor(connection, text, fetched));
}

/** The rows of a binary cursor. Leaving them early reads the rest of what was fetched, and closes the cursor. */
async function* streamCursor(connection: PostgresConnection, text: string, batchSize: number): AsyncGenerator<Buffer> {
  await connection.query(`DECLARE ${CURSOR} BINARY NO SCROLL CURSOR FOR ${text}`);
  let failed = false;
  try {
    for (let ended = false; !ended; ) {
      const fetch = connection.client.query(new CopyTo(`FETCH ${batchSize} FROM ${CURSOR}`, "rows"));
      const chunks = fetch.chunks();
      try {
        for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
      } catch (error) {
        failed = true;
        throw connection.errorOf(error);
      } finally {
        while (!failed && (await chunks.next()).done !== true);
      }
      ended = fetch.rows < batchSize;
    }
  } finally {
    // After an error the transaction takes no statement, and a rollback closes the cursor.
    if (!failed) await connection.query(`CLOSE ${CURSOR}`).catch(() => {});
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

/**
 * Reading a large content in pieces. The driver copies a BLOB whole out of a row, and SQLite holds it whole beside that:
 * 200 MiB for one of 100 MiB. So for the largest a function of ours takes the pieces inside one statement, for which SQLite
 * reads the BLOB once, and sets them aside in a temporary file.
 */
import { columnOf, type Field, LARGE_VALUE_BYTES } from "../../../catalog/index.js";
import { Spool } from "../../../document/files/spool.js";
import type { Database } from "../open.js";
import { quoted, release } from "../table.js";
import { turnOf } from "./turn.js";

/**
 * A multiple of three: base64 is made of it without a rest that has to be joined to the next chunk; and less than what glibc has the
 * system map anew each time (src/allocator.ts). Bytes.
 */
const CHUNK_BYTES = 3 * 65536;
/** Up to here the driver's copy is cheaper than a temporary file. Bytes. */
const COPIED_BYTES = 8 * LARGE_VALUE_BYTES;
/** Where threads do it beside each other. */
const COPIED_BESIDE_BYTES = 4 * LARGE_VALUE_BYTES;

/** The content of a row, of so many bytes; a chunk is valid until the next is asked for. E_DISK_FULL, E_IO. */
export type LargeContentReader = (rowid: bigint, length: bigint) => AsyncGenerator<Buffer, void, undefined>;

/** Before the first query is under way on the connection. */
export function createLargeContentReader(
  database: Database,
  table: string,
  rowid: string,
  field: Field,
): LargeContentReader {
  const take = quoted(`llmspell_take_${table}`);
  let spool: Spool | undefined;
  // SQLite holds the content meanwhile.
  const turn = turnOf(database);
  // directOnly: no view or trigger of the database may call it.
  database.function(take.slice(1, -1), { directOnly: true }, (piece: Buffer) => {
    spool?.appendNow(piece);
    release(piece);
    return 0;
  });
  const select = `SELECT total(${take}(substr(c.${quoted(columnOf(field))}, p.n * ${CHUNK_BYTES} + 1, ${CHUNK_BYTES})))
    FROM ${quoted(table)} AS c
    CROSS JOIN (WITH RECURSIVE p(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM p LIMIT ?) SELECT n FROM p) AS p
    WHERE c.${rowid} = ?`;
  const whole = database.prepare(`SELECT ${quoted(columnOf(field))} FROM ${quoted(table)} WHERE ${rowid} = ?`).pluck();
  return async function* (at, length) {
    if (length <= (turn === undefined ? COPIED_BYTES : COPIED_BESIDE_BYTES)) {
      const content = whole.get(at) as Buffer;
      for (let from = 0; from < content.length; from += CHUNK_BYTES) yield content.subarray(from, from + CHUNK_BYTES);
      release(content);
      return;
    }
    const pieces = await Spool.create();
    try {
      await turn?.take();
      try {
        spool = pieces;
        database.prepare(select).get(BigInt(Math.ceil(Number(length) / CHUNK_BYTES)), at);
      } finally {
        spool = undefined;
        turn?.give();
      }
      const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      for (let at = 0; at < pieces.length; ) {
        const piece = chunk.subarray(0, Math.min(CHUNK_BYTES, pieces.length - at));
        // Now: the file was written a moment ago, and a chunk of it is in memory sooner than the thread pool answers.
        pieces.readNow(piece, at);
        yield piece;
        at += piece.length;
      }
    } finally {
      await pieces.close();
    }
  };
}

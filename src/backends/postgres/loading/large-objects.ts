/** Large objects of a load: made inside its transaction, so that they go with it. */
import { LARGE_VALUE_BYTES } from "../../../catalog/index.js";
import type { LargeObjectOwner, PostgresApplication } from "../application.js";
import { quote } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";

/** Bytes of one lo_put or lo_get. */
const CHUNK_BYTES = LARGE_VALUE_BYTES;

interface Grantee {
  /** NULL is PUBLIC. */
  grantee: string | null;
  rights: string;
}

/** Memory that is filled while other is on its way, and when what is in it has arrived. */
interface Piece {
  bytes: Buffer;
  arrived: Promise<void>;
}

export class LargeObjectWriter {
  private rights: Promise<(oid: number) => string> | undefined;
  private owner: LargeObjectOwner = {};
  private readonly pieces: Piece[];
  private turn = 0;
  /** The last thing that the server was asked for; what is asked of it is done in order. */
  private last: Promise<void> = Promise.resolve();
  private failure: { readonly error: unknown } | undefined;

  /** @param ahead so many pieces may wait for the server while the next is gathered */
  constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    private readonly application: PostgresApplication | undefined,
    ahead = 1,
  ) {
    this.pieces = Array.from({ length: ahead + 1 }, () => ({ bytes: Buffer.alloc(0), arrived: Promise.resolve() }));
  }

  /** Makes a large object of the chunks, with the grants of the table, and gives it to the application. Gives its oid. */
  async create(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<number> {
    const oid = await this.begin(chunks);
    await this.settle();
    return oid;
  }

  /** The same, but its last pieces may still be on their way: `settle` waits for them. */
  async begin(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<number> {
    await this.settle();
    const { rows } = await this.connection.query<{ oid: number }>("SELECT pg_catalog.lo_create(0) AS oid");
    const oid = (rows[0] as { oid: number }).oid;
    try {
      await this.put(oid, chunks);
    } catch (error) {
      await this.settle().catch(() => {});
      throw error;
    }
    this.ask(async () => {
      this.rights ??= this.readRights();
      const grants = (await this.rights)(oid);
      if (grants !== "") await this.connection.query(grants);
    });
    return oid;
  }

  /** Waits until all that was begun is there. Throws what failed. */
  async settle(): Promise<void> {
    await this.last;
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure.error;
  }

  private async put(oid: number, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    let piece: Piece | undefined;
    let offset = 0;
    let length = 0;
    const send = ({ bytes }: Piece): Promise<void> => {
      const values = [oid, offset, bytes.subarray(0, length)];
      offset += length;
      length = 0;
      return this.ask(() => this.connection.query("SELECT pg_catalog.lo_put($1, $2, $3)", values));
    };
    for await (const chunk of chunks)
      for (let at = 0; at < chunk.length; ) {
        piece ??= await this.freePiece();
        const count = chunk.copy(piece.bytes, length, at);
        at += count;
        length += count;
        if (length < CHUNK_BYTES) continue;
        piece.arrived = send(piece);
        piece = undefined;
      }
    if (piece !== undefined) piece.arrived = send(piece);
  }

  private async freePiece(): Promise<Piece> {
    const piece = this.pieces[this.turn++ % this.pieces.length] as Piece;
    await piece.arrived;
    if (this.failure !== undefined) throw this.failure.error;
    if (piece.bytes.length === 0) piece.bytes = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    return piece;
  }

  /** One behind the other, until one fails. Never rejects. */
  private ask(query: () => Promise<unknown>): Promise<void> {
    this.last = this.last.then(async () => {
      if (this.failure !== undefined) return;
      try {
        await query();
      } catch (error) {
        this.failure = { error };
      }
    });
    return this.last;
  }

  /** A line for the user, e.g. where the application cannot remove what was made. */
  get note(): string | undefined {
    return this.owner.note;
  }

  async unlink(oid: number): Promise<void> {
    await this.connection.query("SELECT pg_catalog.lo_unlink($1)", [oid]);
  }

  /**
   * The application must read what an administrator imports, and only an owner may unlink: its role gets the object where that
   * can be, otherwise the table's owner does. The rights on the table are the object's too, and its owner keeps them.
   */
  private async readRights(): Promise<(oid: number) => string> {
    const { table, connection } = this;
    const { rows } = await connection.query<Grantee>(
      `SELECT grantee_name AS grantee, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS rights
       FROM (
         SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS grantee_name, a.privilege_type
         FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = $1 AND a.grantee <> c.relowner AND a.privilege_type IN ('SELECT', 'UPDATE')
       ) granted GROUP BY grantee_name`,
      [table.oid],
    );
    this.owner = (await this.application?.largeObjectOwner?.(connection, table)) ?? {};
    const application = this.owner.role;
    const owner = application ?? (table.givesToOwner ? table.owner : undefined);
    return (oid) => {
      const to = (role: string, rights: string): string => `GRANT ${rights} ON LARGE OBJECT ${oid} TO ${role}`;
      return [
        ...rows
          .filter(({ grantee }) => grantee === null || grantee !== application)
          .map(({ grantee, rights }) => to(grantee === null ? "PUBLIC" : quote(grantee), rights)),
        ...(owner === undefined ? [] : [`ALTER LARGE OBJECT ${oid} OWNER TO ${quote(owner)}`]),
        // Afterwards: rights that were an owner's would go to the next.
        ...(application === undefined || application === table.owner ? [] : [to(quote(table.owner), "SELECT, UPDATE")]),
      ].join("; ");
    };
  }
}

/** The content of a large object in chunks of 1 MiB. */
export async function* readLargeObject(connection: PostgresConnection, oid: number): AsyncGenerator<Buffer> {
  for (let offset = 0; ; offset += CHUNK_BYTES) {
    const { rows } = await connection.query<{ chunk: Buffer }>("SELECT pg_catalog.lo_get($1, $2, $3) AS chunk", [
      oid,
      offset,
      CHUNK_BYTES,
    ]);
    const chunk = (rows[0] as { chunk: Buffer }).chunk;
    if (chunk.length > 0) yield chunk;
    if (chunk.length < CHUNK_BYTES) return;
  }
}

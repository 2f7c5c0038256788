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

export class LargeObjectWriter {
  private rights: Promise<(oid: number) => string> | undefined;
  private owner: LargeObjectOwner = {};
  /** One is filled while the other is on its way. */
  private readonly pieces = [Buffer.alloc(0), Buffer.alloc(0)];

  constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    private readonly application: PostgresApplication | undefined,
  ) {}

  /** Makes a large object of the chunks, with the grants of the table, and gives it to the application. Gives its oid. */
  async create(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<number> {
    const { rows } = await this.connection.query<{ oid: number }>("SELECT pg_catalog.lo_create(0) AS oid");
    const oid = (rows[0] as { oid: number }).oid;
    await this.put(oid, chunks);
    this.rights ??= this.readRights();
    const grants = (await this.rights)(oid);
    if (grants !== "") await this.connection.query(grants);
    return oid;
  }

  /** Writes while the next piece is gathered. */
  private async put(oid: number, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    let offset = 0;
    let written: Promise<unknown> = Promise.resolve();
    try {
      for await (const piece of gather(chunks, this.pieces)) {
        await written;
        written = this.connection.query("SELECT pg_catalog.lo_put($1, $2, $3)", [oid, offset, piece]);
        // Its failure is told below, where it is waited for.
        written.catch(() => {});
        offset += piece.length;
      }
    } catch (error) {
      await written.catch(() => {});
      throw error;
    }
    await written;
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

/** The chunks' bytes in pieces of CHUNK_BYTES, each valid until the next but one is asked for. */
async function* gather(chunks: AsyncIterable<Buffer> | Iterable<Buffer>, pieces: Buffer[]): AsyncGenerator<Buffer> {
  let turn = 0;
  let length = 0;
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; ) {
      if (pieces[turn]?.length === 0) pieces[turn] = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      const piece = pieces[turn] as Buffer;
      const count = chunk.copy(piece, length, at);
      at += count;
      length += count;
      if (length < CHUNK_BYTES) continue;
      yield piece;
      turn = 1 - turn;
      length = 0;
    }
  if (length > 0) yield (pieces[turn] as Buffer).subarray(0, length);
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

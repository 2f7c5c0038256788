/** A session with PostgreSQL, on a server or embedded in this process. */
import type pg from "pg";
import type { StorageError } from "../../../errors.js";
import type { EmbeddedPostgres } from "../../pglite/embedded.js";
import type { PostgresClient, PostgresResult, PostgresRow } from "./client.js";
import { CopyFrom } from "./copy-from.js";
import { CopyTo } from "./copy-to.js";
import { fromPostgresError } from "./errors.js";
import { type Attempt, connectToServer } from "./server.js";

/** A URL `postgresql://user@host:5432/database`, or the folder of an embedded PostgreSQL. */
export type PostgresTarget = { readonly url: string } | { readonly pglite: string };

export interface ConnectOptions {
  /** How long a server that refuses or is starting up is tried. Seconds, default 30. */
  readonly connectionTimeoutSeconds?: number;
  /** Aborting it closes the connection, and so rolls back. */
  readonly signal?: AbortSignal;
  /** The session's name in pg_stat_activity. Default: the URL's or PGAPPNAME; without, transactions are named `llmspell-storage`. */
  readonly applicationName?: string;
  /** Statements wait so long for a lock. Seconds; default: as the server is configured, which is for ever. */
  readonly lockTimeoutSeconds?: number;
  /** Told at once when the server cannot be had yet, and is tried again. */
  readonly onWait?: (what: string) => void;
  /** Makes the embedded database where its folder is missing or empty. Default: E_STORE_NOT_FOUND. */
  readonly create?: boolean;
}

export interface PostgresConnection {
  /** For messages, e.g. `postgresql://user@host:5432/database` or `pglite:/data/store`; never holds a password. */
  readonly name: string;
  /**
   * For streams (Submittables). Its type parsers: int8 gives bigint; bool, int2, int4, oid, float4, float8, text[] and
   * bytea as pg does; everything else (times, numeric, json, uuid) gives PostgreSQL's text.
   */
  readonly client: PostgresClient;
  /** PostgreSQL in this process. */
  readonly embedded: boolean;
  /** The process id of the server's session, as the server (or a pooler) told it. */
  readonly pid?: number | undefined;
  /** Seconds; undefined: as the server is configured. */
  readonly lockTimeoutSeconds: number | undefined;
  /** Since when the server works on a statement of `query` or `copyFrom` (performance.now); undefined where it does not. */
  readonly busySince: number | undefined;
  /** @throws {StorageError} as errors.ts maps it */
  query<Row extends PostgresRow = PostgresRow>(text: string, values?: readonly unknown[]): Promise<PostgresResult<Row>>;
  /** `COPY … FROM STDIN` of one whole data set in the statement's format (binary: header, tuples, trailer). Gives the rows. */
  copyFrom(sql: string, data: Buffer): Promise<number>;
  /**
   * The data of `COPY … TO STDOUT` in pieces of any size, each valid until the next is asked for; undefined where it cannot be streamed (embedded). Leaving the
   * iteration early closes the connection, for a COPY cannot be ended otherwise.
   */
  copyTo(sql: string): AsyncIterable<Buffer> | undefined;
  /** What a statement failed for: where the session has ended, what the server said then, between two statements perhaps. */
  errorOf(error: unknown): StorageError;
  /** Ends the session (an open transaction is rolled back); repeatable, never throws. */
  close(): Promise<void>;
}

/** `onWait` is told what the server is waited for. */
export type PostgresConnector = (onWait?: (what: string) => void) => Promise<PostgresConnection>;

const CLOSE_MILLISECONDS = 5000;
const DEFAULT_TIMEOUT_SECONDS = 30;

const INT8_OID = 20;
/** bool, bytea, int2, int4, text, oid, float4, float8, text[], int4[], varchar[]: as pg parses them. */
const PARSED_BY_PG: ReadonlySet<number> = new Set([16, 17, 21, 23, 25, 26, 700, 701, 1009, 1007, 1015]);

/** For this client only: pg's own parsers would lose digits of int8, times and json numbers. */
const typesWith = ({ getTypeParser }: typeof pg.types): pg.CustomTypesConfig =>
  ({
    getTypeParser(oid: number, format?: "text" | "binary"): (value: string) => unknown {
      if (oid === INT8_OID) return BigInt;
      if (PARSED_BY_PG.has(oid)) return getTypeParser(oid, format as "text") as (value: string) => unknown;
      return (value) => value;
    },
  }) as pg.CustomTypesConfig;

/**
 * Connects. The session is left as the server gives it: settings belong to transactions (transaction.ts).
 * @throws {StorageError} E_CONNECT, E_CONNECTION_TIMEOUT, E_AUTHENTICATION, E_STORE_NOT_FOUND, E_CONFIG, E_LOCKED
 */
export async function connectPostgres(
  target: PostgresTarget,
  options: ConnectOptions = {},
): Promise<PostgresConnection> {
  const seconds = options.connectionTimeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS;
  const attempt: Attempt = {
    deadline: Date.now() + seconds * 1000,
    seconds,
    signal: options.signal,
    onWait: options.onWait,
  };
  options.signal?.throwIfAborted();
  const { applicationName, lockTimeoutSeconds } = options;
  // Here, because whoever has an SQLite file only needs no driver of servers.
  const { Client, types } = await import("pg");
  const named = {
    types: typesWith(types),
    ...(applicationName === undefined ? {} : { application_name: applicationName }),
  };
  let connection: OpenConnection;
  if ("pglite" in target) {
    const { openEmbeddedPostgres } = await import("../../pglite/embedded.js");
    const server = await openEmbeddedPostgres(target.pglite, { create: options.create ?? false });
    // The name and the user are those that PGlite makes its cluster with.
    const config = { stream: () => server.socket, user: "postgres", database: "postgres", ...named };
    connection = new OpenConnection(
      new Client({ ...config, ssl: false }),
      `pglite:${target.pglite}`,
      server,
      lockTimeoutSeconds,
    );
    try {
      await connection.start(attempt);
    } catch (error) {
      throw fromPostgresError(error, { detail: connection.name });
    }
  } else {
    connection = await connectToServer(target.url, named, attempt, async (client, name) => {
      const opened = new OpenConnection(client, name, undefined, lockTimeoutSeconds);
      await opened.start(attempt);
      return opened;
    });
  }
  return connection;
}

class OpenConnection implements PostgresConnection {
  readonly embedded: boolean;
  busySince: number | undefined;
  private closing: Promise<void> | undefined;
  /** What ended the session. */
  private ended: Error | undefined;
  private stopListening: () => void = () => {};

  constructor(
    readonly client: pg.Client,
    readonly name: string,
    private readonly server: EmbeddedPostgres | undefined,
    readonly lockTimeoutSeconds: number | undefined,
  ) {
    this.embedded = server !== undefined;
    // The query at hand reports a broken connection; without a listener it would end the process as well.
    client.on("error", (error) => {
      this.ended ??= error;
    });
  }

  async start({ signal }: Attempt): Promise<void> {
    const onAbort = (): void => this.destroy();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.stopListening = () => signal?.removeEventListener("abort", onAbort);
    try {
      await this.client.connect();
    } catch (error) {
      this.stopListening();
      this.destroy();
      await this.server?.close();
      throw error;
    }
  }

  get pid(): number | undefined {
    return (this.client as { readonly processID?: number | null }).processID ?? undefined;
  }

  errorOf(error: unknown): StorageError {
    const known = fromPostgresError(error);
    return known.code === "E_CONNECTION_LOST" && this.ended !== undefined ? fromPostgresError(this.ended) : known;
  }

  async query<Row extends PostgresRow>(text: string, values?: readonly unknown[]): Promise<PostgresResult<Row>> {
    this.busySince = performance.now();
    try {
      return await this.client.query<Row, unknown[]>(text, values as unknown[]);
    } catch (error) {
      throw this.errorOf(error);
    } finally {
      this.busySince = undefined;
    }
  }

  async copyFrom(sql: string, data: Buffer): Promise<number> {
    this.busySince = performance.now();
    try {
      return await this.client.query(new CopyFrom(sql, data)).rows;
    } catch (error) {
      throw this.errorOf(error);
    } finally {
      this.busySince = undefined;
    }
  }

  copyTo(sql: string): AsyncIterable<Buffer> | undefined {
    // PGlite answers a statement in one call, and so would hold the whole table.
    return this.embedded ? undefined : this.streamCopy(sql);
  }

  private async *streamCopy(sql: string): AsyncGenerator<Buffer> {
    const copy = this.client.query(new CopyTo(sql));
    let ended = false;
    try {
      yield* copy.chunks();
      ended = true;
    } catch (error) {
      ended = true;
      throw this.errorOf(error);
    } finally {
      if (!ended) this.destroy();
    }
  }

  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    this.stopListening();
    const timer = setTimeout(() => this.destroy(), CLOSE_MILLISECONDS);
    try {
      await this.client.end();
    } catch {
      this.destroy();
    } finally {
      clearTimeout(timer);
    }
    await this.server?.close().catch(() => {});
  }

  private destroy(): void {
    this.client.connection.stream.destroy();
  }
}

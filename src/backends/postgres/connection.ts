/** A session with PostgreSQL, on a server or embedded in this process. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { StorageError } from "../../errors.js";
import type { EmbeddedPostgres } from "../pglite/embedded.js";
import { CopyFrom } from "./copy-from.js";
import { CopyTo } from "./copy-to.js";
import { fromPostgresError } from "./errors.js";

/** A URL `postgresql://user@host:5432/database`, or the folder of an embedded PostgreSQL. */
export type PostgresTarget = { readonly url: string } | { readonly pglite: string };

export interface ConnectOptions {
  /** How long a server that refuses or is starting up is tried. Seconds, default 30. */
  readonly connectionTimeoutSeconds?: number;
  /** Aborting it closes the connection, and so rolls back. */
  readonly signal?: AbortSignal;
  /** The session's name in pg_stat_activity. Default: the URL's or PGAPPNAME; without, transactions are named `llmspell-storage`. */
  readonly applicationName?: string;
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
  readonly client: pg.Client;
  /** PostgreSQL in this process. */
  readonly embedded: boolean;
  /** @throws {StorageError} as errors.ts maps it */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    text: string,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
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

export type PostgresConnector = () => Promise<PostgresConnection>;

const RETRY_MILLISECONDS = 250;
const CLOSE_MILLISECONDS = 5000;
const DEFAULT_TIMEOUT_SECONDS = 30;
/** No answer yet, or not yet from the server itself. */
const RETRIED: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "EAI_AGAIN", "57P03"]);

const INT8_OID = 20;
/** bool, bytea, int2, int4, text, oid, float4, float8, text[], int4[], varchar[]: as pg parses them. */
const PARSED_BY_PG: ReadonlySet<number> = new Set([16, 17, 21, 23, 25, 26, 700, 701, 1009, 1007, 1015]);

/** For this client only: pg's own parsers would lose digits of int8, times and json numbers. */
const types = {
  getTypeParser(oid: number, format?: "text" | "binary"): (value: string) => unknown {
    if (oid === INT8_OID) return BigInt;
    if (PARSED_BY_PG.has(oid)) return pg.types.getTypeParser(oid, format as "text") as (value: string) => unknown;
    return (value) => value;
  },
} as pg.CustomTypesConfig;

/** The deadline of one connectPostgres. */
interface Attempt {
  readonly deadline: number;
  readonly seconds: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Connects. The session is left as the server gives it: settings belong to transactions (transaction.ts).
 * @throws {StorageError} E_CONNECT, E_CONNECTION_TIMEOUT, E_AUTHENTICATION, E_STORE_NOT_FOUND, E_CONFIG, E_LOCKED
 */
export async function connectPostgres(
  target: PostgresTarget,
  options: ConnectOptions = {},
): Promise<PostgresConnection> {
  const seconds = options.connectionTimeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS;
  const attempt: Attempt = { deadline: Date.now() + seconds * 1000, seconds, signal: options.signal };
  options.signal?.throwIfAborted();
  const { applicationName } = options;
  const named = { types, ...(applicationName === undefined ? {} : { application_name: applicationName }) };
  let connection: OpenConnection;
  if ("pglite" in target) {
    const { openEmbeddedPostgres } = await import("../pglite/embedded.js");
    const server = await openEmbeddedPostgres(target.pglite, { create: options.create ?? false });
    // The name and the user are those that PGlite makes its cluster with.
    const config = { stream: () => server.socket, user: "postgres", database: "postgres", ...named };
    connection = new OpenConnection(new pg.Client({ ...config, ssl: false }), `pglite:${target.pglite}`, server);
    try {
      await connection.start(attempt);
    } catch (error) {
      throw fromPostgresError(error, { detail: connection.name });
    }
  } else {
    connection = await connectToServer(target.url, named, attempt);
  }
  return connection;
}

async function connectToServer(url: string, named: pg.ClientConfig, attempt: Attempt): Promise<OpenConnection> {
  let tried = url;
  for (;;) {
    const connectionTimeoutMillis = Math.max(1, attempt.deadline - Date.now());
    const client = createClient(tried, { ...named, connectionTimeoutMillis, keepAlive: true });
    const connection = new OpenConnection(client, redactedName(client), undefined);
    try {
      await connection.start(attempt);
      return connection;
    } catch (error) {
      attempt.signal?.throwIfAborted();
      if (prefersPlain(tried, error)) {
        tried = tried.replace(SSL_PREFERRED, "$1disable");
        continue;
      }
      if (!isRetried(error) || Date.now() + RETRY_MILLISECONDS >= attempt.deadline)
        throw connectError(error, connection.name, attempt.seconds);
    }
    await sleep(RETRY_MILLISECONDS, undefined, attempt.signal === undefined ? {} : { signal: attempt.signal });
  }
}

function createClient(url: string, config: pg.ClientConfig): pg.Client {
  if (!/^postgres(ql)?:\/\//.test(url)) throw invalidUrl();
  // Without it pg takes sslmode=require for verify-full, unlike every other client of the server.
  const compatible = /[?&]sslmode=/.test(url) && !url.includes("uselibpqcompat=");
  try {
    return new pg.Client({ ...config, connectionString: compatible ? `${url}&uselibpqcompat=true` : url });
  } catch {
    // The error at hand may quote the URL, and with it the password.
    throw invalidUrl();
  }
}

function invalidUrl(): StorageError {
  return new StorageError("E_CONFIG", "the PostgreSQL URL is not valid", {
    hint: "It looks like postgresql://user:password@host:5432/database; special characters are percent-encoded.",
  });
}

function redactedName({ user, host, port, database }: pg.Client): string {
  const path = `${encodeURIComponent(database ?? "")}`;
  const who = user === undefined ? "" : `${encodeURIComponent(user)}@`;
  if (host.startsWith("/")) return `postgresql://${who}/${path}?host=${host}`;
  return `postgresql://${who}${host.includes(":") ? `[${host}]` : host}:${port}/${path}`;
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : undefined;
}

function isRetried(error: unknown): boolean {
  return RETRIED.has(codeOf(error) ?? "") || /^Connection terminated unexpectedly/.test((error as Error).message);
}

const SSL_PREFERRED = /([?&]sslmode=)(?:prefer|allow)\b/;

/** sslmode=prefer (and allow) means: without encryption where the server has none. */
function prefersPlain(url: string, error: unknown): boolean {
  return SSL_PREFERRED.test(url) && /does not support SSL/.test((error as Error).message);
}

function connectError(error: unknown, name: string, seconds: number): StorageError {
  if (error instanceof StorageError) return error;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const detail = `${name}: ${message === "" ? code : message}`;
  if (isRetried(error) || message === "timeout expired" || code === "ETIMEDOUT")
    return new StorageError("E_CONNECTION_TIMEOUT", `Connection timeout after ${seconds} seconds`, {
      detail,
      hint: "Check that PostgreSQL runs and that the URL is right, or raise [storage.postgresql] connection_timeout_seconds.",
    });
  if (message.startsWith("SASL:"))
    return new StorageError("E_AUTHENTICATION", "the server refused the user or the password", {
      detail: `${name}: the server asks for a password, or the one given does not fit`,
    });
  const mapped = fromPostgresError(error, { detail });
  if (mapped.code !== "E_UNEXPECTED" && mapped.code !== "E_CONNECTION_LOST") return mapped;
  return new StorageError("E_CONNECT", `cannot connect to ${name}`, { detail }, error);
}

class OpenConnection implements PostgresConnection {
  readonly embedded: boolean;
  private closing: Promise<void> | undefined;
  /** What ended the session. */
  private ended: Error | undefined;
  private stopListening: () => void = () => {};

  constructor(
    readonly client: pg.Client,
    readonly name: string,
    private readonly server: EmbeddedPostgres | undefined,
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

  errorOf(error: unknown): StorageError {
    const known = fromPostgresError(error);
    return known.code === "E_CONNECTION_LOST" && this.ended !== undefined ? fromPostgresError(this.ended) : known;
  }

  async query<Row extends pg.QueryResultRow>(text: string, values?: readonly unknown[]): Promise<pg.QueryResult<Row>> {
    try {
      return await this.client.query<Row, unknown[]>(text, values as unknown[]);
    } catch (error) {
      throw this.errorOf(error);
    }
  }

  async copyFrom(sql: string, data: Buffer): Promise<number> {
    try {
      return await this.client.query(new CopyFrom(sql, data)).rows;
    } catch (error) {
      throw this.errorOf(error);
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

/** Reaching a server: its hosts, with or without encryption, until one answers or the time is over. */
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { StorageError } from "../../../errors.js";
import {
  type ConnectionParameters,
  type Host,
  resolveConnection,
  type SessionAttributes,
} from "./connection-parameters.js";
import { fromPostgresError } from "./errors.js";
import { OneBufferSocket } from "./one-buffer-socket.js";
import { readPasswordFile } from "./password-file.js";
import { tlsAttempts } from "./tls.js";

/** The deadline of one connectPostgres. */
export interface Attempt {
  readonly deadline: number;
  readonly seconds: number;
  readonly signal: AbortSignal | undefined;
  readonly onWait: ((what: string) => void) | undefined;
}

/** Connects the client; on failure nothing of it is left. `name` is for messages. */
type Start<Connection> = (client: pg.Client, name: string) => Promise<Connection>;

/** What is done with an open connection here. */
interface Session {
  readonly client: pg.Client;
  close(): Promise<void>;
}

const RETRY_MILLISECONDS = 250;
/** No answer yet, or not yet from the server itself. */
const RETRIED: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "EAI_AGAIN", "57P03"]);

/** @throws {StorageError} E_CONNECT, E_CONNECTION_TIMEOUT, E_AUTHENTICATION, E_STORE_NOT_FOUND, E_CONFIG */
export async function connectToServer<Connection extends Session>(
  url: string,
  config: pg.ClientConfig,
  attempt: Attempt,
  start: Start<Connection>,
): Promise<Connection> {
  const parameters = resolveConnection(url);
  const { sessionAttributes } = parameters;
  let told = false;
  for (;;) {
    const failures: unknown[] = [];
    const passes = sessionAttributes === "prefer-standby" ? (["standby", "any"] as const) : [sessionAttributes];
    for (const wanted of passes) {
      for (const [at, host] of parameters.hosts.entries()) {
        const left = Math.max(1, attempt.deadline - Date.now());
        // A host that does not answer must leave time for the others.
        const connectionTimeoutMillis = Math.ceil(left / (parameters.hosts.length - at));
        try {
          return await connectToHost(parameters, host, wanted, { ...config, connectionTimeoutMillis }, start);
        } catch (error) {
          attempt.signal?.throwIfAborted();
          if (isRetried(error) && !told) attempt.onWait?.(whatIsWaitedFor(error, nameOf(parameters, host), attempt));
          told = true;
          if (!isRetried(error)) failures.push(connectError(error, parameters, host, attempt.seconds));
          // As libpq: who is refused by one host is not tried on the others.
          if (failures.some((failure) => (failure as StorageError).code === "E_AUTHENTICATION")) throw failures.at(-1);
          if (isRetried(error) && Date.now() + RETRY_MILLISECONDS >= attempt.deadline)
            failures.push(connectError(error, parameters, host, attempt.seconds));
        }
      }
    }
    if (failures.length > 0) throw failures[0];
    await sleep(RETRY_MILLISECONDS, undefined, attempt.signal === undefined ? {} : { signal: attempt.signal });
  }
}

async function connectToHost<Connection extends Session>(
  parameters: ConnectionParameters,
  host: Host,
  wanted: SessionAttributes,
  config: pg.ClientConfig,
  start: Start<Connection>,
): Promise<Connection> {
  const attempts = tlsAttempts(parameters.all, host.host);
  for (const [at, ssl] of attempts.entries()) {
    const { client, refusal } = await createClient(parameters, host, { ...config, ssl });
    try {
      const connection = await start(client, nameOf(parameters, host));
      // A server that says everything at once has the session opened before it is refused.
      const refused = refusal();
      if (refused === undefined) await requireAttributes(connection, wanted);
      else {
        await connection.close();
        throw refused;
      }
      return connection;
    } catch (error) {
      const reason = refusal() ?? error;
      if (at + 1 === attempts.length || !isOfEncryption(reason)) throw reason;
    }
  }
  throw new Error("there is always one attempt");
}

async function createClient(
  { all, user, database }: ConnectionParameters,
  host: Host,
  config: pg.ClientConfig,
): Promise<{ readonly client: pg.Client; readonly refusal: () => StorageError | undefined }> {
  const { Client } = await import("pg");
  const applicationName = config.application_name ?? all.get("application_name");
  const options = all.get("options");
  const binding = all.get("channel_binding") === "require";
  const client = new Client({
    // Encrypted bytes are another socket's.
    ...(config.ssl === false ? { stream: () => new OneBufferSocket() } : {}),
    ...config,
    host: host.host,
    port: host.port,
    ...(user === undefined ? {} : { user }),
    ...(database === undefined ? {} : { database }),
    ...(options === undefined ? {} : { options }),
    ...(applicationName === undefined ? {} : { application_name: applicationName }),
    ...(binding ? { enableChannelBinding: true } : {}),
    ...(all.get("sslnegotiation") === "direct" && config.ssl ? { sslnegotiation: "direct" } : {}),
    // Asked for when the server wants one. An empty one is none.
    password: () => passwordOf(all, host, database ?? user ?? "", user ?? "").password ?? "",
    keepAlive: true,
    // While a run is held back nothing goes over its links, which routers forget after some minutes.
    keepAliveInitialDelayMillis: 60_000,
  } as pg.ClientConfig);
  return { client, refusal: binding ? requireChannelBinding(client) : () => undefined };
}

function passwordOf(all: ConnectionParameters["all"], host: Host, database: string, user: string) {
  const password = all.get("password");
  if (password !== undefined) return { password, ignored: undefined };
  return readPasswordFile(all.get("passfile"), host, database, user);
}

/** channel_binding=require: nothing else may be answered, the password in clear text least of all. Gives what was refused. */
function requireChannelBinding(client: pg.Client): () => StorageError | undefined {
  let refused: StorageError | undefined;
  let bound = false;
  const refuse = (): void => {
    refused ??= new StorageError("E_CONNECT", "the server does not bind the password to the encryption", {
      detail: "channel_binding is require",
      hint: "It takes scram-sha-256 and encryption on the server; a pooler or proxy before it may not have them.",
    });
    client.connection.stream.destroy();
  };
  const connection = client.connection as unknown as NodeJS.EventEmitter;
  connection.on("authenticationCleartextPassword", refuse);
  connection.on("authenticationMD5Password", refuse);
  connection.on("authenticationSASL", ({ mechanisms }: { mechanisms: readonly string[] }) => {
    bound = mechanisms.includes("SCRAM-SHA-256-PLUS");
    if (!bound) refuse();
  });
  connection.on("authenticationOk", () => {
    if (!bound) refuse();
  });
  return () => refused;
}

/** target_session_attrs. Closes a connection that will not do: E_CONNECT. */
async function requireAttributes(connection: Session, wanted: SessionAttributes): Promise<void> {
  if (wanted === "any") return;
  const { rows } = await connection.client.query<{ standby: boolean; read_only: string }>(
    `SELECT pg_catalog.pg_is_in_recovery() AS standby, pg_catalog.current_setting('transaction_read_only') AS read_only`,
  );
  const standby = rows[0]?.standby === true;
  const readOnly = rows[0]?.read_only === "on";
  const fits = {
    "read-write": !readOnly,
    "read-only": readOnly,
    primary: !standby,
    standby,
    "prefer-standby": standby,
  };
  if (fits[wanted]) return;
  await connection.close();
  throw new StorageError("E_CONNECT", `no host of the URL is ${wanted}`, {
    detail: `target_session_attrs is ${wanted}`,
  });
}

function nameOf({ user, database }: ConnectionParameters, { host, port }: Host): string {
  const path = encodeURIComponent(database ?? user ?? "");
  const who = user === undefined ? "" : `${encodeURIComponent(user)}@`;
  if (host.startsWith("/")) return `postgresql://${who}/${path}?host=${host}${port === 5432 ? "" : `&port=${port}`}`;
  return `postgresql://${who}${host.includes(":") ? `[${host}]` : host}:${port}/${path}`;
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "";
}

function whatIsWaitedFor(error: unknown, name: string, { deadline }: Attempt): string {
  const reason =
    codeOf(error) === "57P03"
      ? "is starting up or shutting down"
      : `does not answer (${codeOf(error) || "connection closed"})`;
  return `${name}, which ${reason}; trying again until ${new Date(deadline).toISOString().slice(11, 19)} UTC`;
}

function isRetried(error: unknown): boolean {
  return RETRIED.has(codeOf(error)) || /^Connection terminated unexpectedly/.test((error as Error).message);
}

const NO_ENCRYPTION = /does not support SSL/;
const NO_ENTRY = /pg_hba\.conf/;

/**
 * Whether the other way, with or without encryption, may do: the server has none, does not know what it was asked, the
 * handshake failed, or its rules ask for the other.
 */
function isOfEncryption(error: unknown): boolean {
  const { message } = error as Error;
  return (
    NO_ENCRYPTION.test(message) ||
    /^There was an error establishing an SSL connection|^Connection terminated unexpectedly/.test(message) ||
    /^(ERR_SSL|ERR_TLS|EPROTO|ECONNRESET)/.test(codeOf(error)) ||
    NO_ENTRY.test(message)
  );
}

/** What Node says of a certificate that it does not take. */
const CERTIFICATE = /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|UNABLE_TO_DECRYPT)/;

function connectError(error: unknown, parameters: ConnectionParameters, host: Host, seconds: number): StorageError {
  if (error instanceof StorageError) return error;
  const name = nameOf(parameters, host);
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const detail = `${name}: ${message === "" ? code : message}`;
  if (isRetried(error) || /^timeout expired/.test(message) || code === "ETIMEDOUT")
    return new StorageError("E_CONNECTION_TIMEOUT", `Connection timeout after ${seconds} seconds`, {
      detail,
      hint: "Check that PostgreSQL runs and that the URL is right, or raise [storage.postgresql] connection_timeout_seconds.",
    });
  const { user = "", database = user, all } = parameters;
  const { ignored } = passwordOf(all, host, database, user);
  if (message.startsWith("SASL:"))
    return new StorageError("E_AUTHENTICATION", "the server refused the user or the password", {
      detail: `${name}: the server asks for a password, or the one given does not fit`,
      ...(ignored === undefined ? {} : { hint: ignored }),
    });
  if (NO_ENCRYPTION.test(message))
    return new StorageError("E_CONNECT", "the server has no encryption, which sslmode asks for", {
      detail,
      hint: "sslmode=prefer does without; the default is that.",
    });
  if (CERTIFICATE.test(code))
    return new StorageError("E_CONNECT", "the server's certificate is not trusted", {
      detail: `${name}: ${message} (${code})`,
      hint: "Name the authority's certificate with sslrootcert=/path/of/root.crt; docs/connections.md has where providers keep theirs.",
    });
  const hint = NO_ENTRY.test(message)
    ? "The server's pg_hba.conf (at a provider: its list of allowed addresses) has no rule for this user, database, address and encryption; sslmode=require asks for encryption."
    : ignored;
  const mapped = fromPostgresError(error, hint === undefined ? { detail } : { detail, hint });
  if (mapped.code !== "E_UNEXPECTED" && mapped.code !== "E_CONNECTION_LOST") return mapped;
  return new StorageError("E_CONNECT", `cannot connect to ${name}`, { detail }, error);
}

/**
 * Where and how to connect: a URL of libpq's forms, what it leaves out from a service of pg_service.conf and from the
 * environment. https://www.postgresql.org/docs/current/libpq-connect.html
 */
import { readFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { StorageError } from "../../../errors.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** libpq's parameters by their names, as given; never shown, for they hold the password. */
export type Parameters = ReadonlyMap<string, string>;

export interface Host {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
}

const SESSION_ATTRIBUTES = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"] as const;
export type SessionAttributes = (typeof SESSION_ATTRIBUTES)[number];

export interface ConnectionParameters {
  /** In the order in which they are tried; at least one. */
  readonly hosts: readonly Host[];
  readonly user: string | undefined;
  readonly database: string | undefined;
  /** Which of the hosts will do. */
  readonly sessionAttributes: SessionAttributes;
  readonly all: Parameters;
}

/** The variables of the parameters that are used or refused here. */
const VARIABLES: readonly (readonly [variable: string, parameter: string])[] = [
  ["PGHOST", "host"],
  ["PGHOSTADDR", "hostaddr"],
  ["PGPORT", "port"],
  ["PGDATABASE", "dbname"],
  ["PGUSER", "user"],
  ["PGPASSWORD", "password"],
  ["PGPASSFILE", "passfile"],
  ["PGOPTIONS", "options"],
  ["PGAPPNAME", "application_name"],
  ["PGTARGETSESSIONATTRS", "target_session_attrs"],
  ["PGSSLMODE", "sslmode"],
  ["PGSSLROOTCERT", "sslrootcert"],
  ["PGSSLCERT", "sslcert"],
  ["PGSSLKEY", "sslkey"],
  ["PGSSLCRL", "sslcrl"],
  ["PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"],
  ["PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"],
  ["PGSSLNEGOTIATION", "sslnegotiation"],
  ["PGCHANNELBINDING", "channel_binding"],
  ["PGREQUIREPEER", "requirepeer"],
  ["PGREQUIREAUTH", "require_auth"],
  ["PGGSSENCMODE", "gssencmode"],
];

/** Parameters that ask for what is not done here, and the values that ask for nothing. To leave one out could be unsafe. */
const UNSUPPORTED: ReadonlyMap<string, RegExp> = new Map([
  ["hostaddr", /^$/],
  ["requirepeer", /^$/],
  ["require_auth", /^$/],
  ["sslcrldir", /^$/],
  ["gssencmode", /^(|disable|prefer)$/],
]);

const URL_FORM = /^postgres(?:ql)?:\/\/(?:([^\s/?#]*)@)?([^\s/?#@]*)(?:\/([^\s?#@]*))?(?:\?([^\s#@]*))?$/;

/**
 * The parameters that a URL holds; undefined where it is none. A password whose `/`, `?` or `#` is not percent-encoded makes
 * a URL, too, with a part of the password for the host or the database, which are shown: its `@` then comes late.
 */
export function parseConnectionUrl(url: string): Parameters | undefined {
  const [, credentials, hosts, database, query] = URL_FORM.exec(url) ?? [];
  if (hosts === undefined) return undefined;
  const parameters = new Map<string, string>();
  const set = (name: string, value: string | undefined): void => {
    if (value) parameters.set(name, decode(value));
  };
  const colon = credentials?.indexOf(":") ?? -1;
  set("user", colon < 0 ? credentials : credentials?.slice(0, colon));
  set("password", colon < 0 ? undefined : credentials?.slice(colon + 1));
  const parts = hosts.split(",").map((part) => /^(?:\[([^[\]]*)\]|([^:[\]]*))(?::(\d*))?$/.exec(part));
  if (parts.some((part) => part === null)) return undefined;
  set("host", parts.map((part) => part?.[1] ?? part?.[2] ?? "").join(","));
  set("port", parts.map((part) => part?.[3] ?? "").join(","));
  if (/^,*$/.test(parameters.get("host") ?? "")) parameters.delete("host");
  if (/^,*$/.test(parameters.get("port") ?? "")) parameters.delete("port");
  set("dbname", database);
  for (const pair of query?.split("&") ?? []) {
    const equals = pair.indexOf("=");
    if (equals > 0) set(decode(pair.slice(0, equals)), pair.slice(equals + 1));
  }
  return (parameters.get("port") ?? "").split(",").every(isPort) ? parameters : undefined;
}

function isPort(text: string): boolean {
  return text === "" || (/^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535);
}

/** A `%` that begins no byte stands for itself, and `+` always does. */
function decode(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
    try {
      return decodeURIComponent(bytes);
    } catch {
      return bytes;
    }
  });
}

/**
 * All that a connection needs. The URL is stronger than its service, and that than the environment.
 * @throws {StorageError} E_CONFIG
 */
export function resolveConnection(url: string, environment: Environment = process.env): ConnectionParameters {
  const given = parseConnectionUrl(url);
  if (given === undefined) throw invalidUrl();
  const all = new Map<string, string>();
  for (const [variable, parameter] of VARIABLES) {
    const value = environment[variable];
    if (value) all.set(parameter, value);
  }
  const service = given.get("service") ?? (environment["PGSERVICE"] || undefined);
  if (service !== undefined) for (const [name, value] of readService(service, environment)) all.set(name, value);
  for (const [name, value] of given) all.set(name, value);
  for (const [name, harmless] of UNSUPPORTED)
    if (!harmless.test(all.get(name) ?? ""))
      throw new StorageError("E_CONFIG", `the connection parameter ${name} is not supported`, {
        hint: "Leave it out of the URL, the service and the environment (PG…), or connect through a local proxy that does it.",
      });
  return {
    hosts: hostsOf(all),
    user: all.get("user") ?? systemUser(),
    database: all.get("dbname"),
    sessionAttributes: sessionAttributesOf(all),
    all,
  };
}

export function invalidUrl(): StorageError {
  return new StorageError("E_CONFIG", "the PostgreSQL URL is not valid", {
    hint: "It looks like postgresql://user:password@host:5432/database; special characters are percent-encoded.",
  });
}

function hostsOf(all: Parameters): Host[] {
  const hosts = (all.get("host") ?? "").split(",").map((host) => host || "localhost");
  const ports = (all.get("port") ?? "").split(",");
  if (ports.length !== 1 && ports.length !== hosts.length)
    throw new StorageError("E_CONFIG", `there are ${hosts.length} hosts and ${ports.length} ports to connect to`, {
      hint: "Give one port for all, or one for each host: postgresql://user@one:5432,two:5433/database",
    });
  if (!ports.every(isPort)) throw new StorageError("E_CONFIG", "the port to connect to is no number from 1 to 65535");
  return hosts.map((host, at) => ({ host, port: Number(ports[ports.length === 1 ? 0 : at] || 5432) }));
}

function systemUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

function sessionAttributesOf(all: Parameters): SessionAttributes {
  const wanted = all.get("target_session_attrs") ?? "any";
  const known = SESSION_ATTRIBUTES.find((each) => each === wanted);
  if (known !== undefined) return known;
  throw new StorageError("E_CONFIG", "target_session_attrs is none of libpq's", {
    hint: `They are ${SESSION_ATTRIBUTES.join(", ")}.`,
  });
}

/** A section of the user's service file, or of the system's: `name=value` lines. */
function readService(service: string, environment: Environment): Parameters {
  const files = [
    environment["PGSERVICEFILE"] || join(homedir(), ".pg_service.conf"),
    join(environment["PGSYSCONFDIR"] || "/etc/postgresql-common", "pg_service.conf"),
  ];
  for (const file of files) {
    let lines: string[];
    try {
      lines = readFileSync(file, "utf8").split(/\r?\n/);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw new StorageError("E_CONFIG", `the service file ${file} cannot be read`, {}, error);
    }
    const start = lines.findIndex((line) => line.trim() === `[${service}]`);
    if (start < 0) continue;
    const parameters = new Map<string, string>();
    for (const line of lines.slice(start + 1)) {
      if (line.startsWith("[")) break;
      const equals = line.indexOf("=");
      if (equals > 0 && !line.startsWith("#"))
        parameters.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
    }
    return parameters;
  }
  throw new StorageError("E_CONFIG", `there is no PostgreSQL service ${JSON.stringify(service)}`, {
    detail: `looked for in ${files.join(" and ")}`,
    hint: "PGSERVICEFILE names another file.",
  });
}

/** sslmode and what goes with it, with libpq's meaning. https://www.postgresql.org/docs/current/libpq-ssl.html */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import * as tls from "node:tls";
import { StorageError } from "../../../errors.js";
import type { Parameters } from "./connection-parameters.js";

/** What is tried, in this order: false is without encryption. */
export type TlsAttempts = readonly (false | tls.ConnectionOptions)[];

const MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type Mode = (typeof MODES)[number];

/** `ssl=…` and `no-verify` are other drivers' spellings. */
const SPELLINGS: ReadonlyMap<string, Mode> = new Map([
  ...MODES.map((mode) => [mode, mode] as const),
  ["no-verify", "require"],
  ["true", "verify-full"],
  ["1", "verify-full"],
  ["false", "disable"],
  ["0", "disable"],
]);

/** @throws {StorageError} E_CONFIG for what cannot be, a file that is missing among it */
export function tlsAttempts(all: Parameters, host: string): TlsAttempts {
  const system = all.get("sslrootcert") === "system";
  const mode = modeOf(all, system);
  // A socket's other end is this machine.
  if (mode === "disable" || host.startsWith("/")) return [false];
  const options = tlsOptions(all, host, mode, system);
  if (mode === "prefer") return [options, false];
  return mode === "allow" ? [false, options] : [options];
}

function modeOf(all: Parameters, system: boolean): Mode {
  const given = all.get("sslmode") ?? all.get("ssl");
  const mode = given === undefined ? (system ? "verify-full" : "prefer") : SPELLINGS.get(given);
  if (mode === undefined)
    throw new StorageError("E_CONFIG", "sslmode is none of libpq's", { hint: `They are ${MODES.join(", ")}.` });
  if (system && mode !== "verify-full" && mode !== "disable")
    throw new StorageError("E_CONFIG", `sslrootcert=system does not go with sslmode=${mode}`, {
      hint: "Anybody can have a certificate of a public authority: only sslmode=verify-full looks at the name in it.",
    });
  return mode;
}

function tlsOptions(all: Parameters, host: string, mode: Mode, system: boolean): tls.ConnectionOptions {
  const { path: root, text: ca } = system ? {} : file(all, "sslrootcert", "root.crt");
  if (mode === "verify-ca" && ca === undefined)
    throw new StorageError("E_CONFIG", "sslmode=verify-ca needs the authority's certificate", {
      detail: `${root} does not exist`,
      hint: "Name it with sslrootcert=/path/of/root.crt, or use sslmode=verify-full, which takes the system's authorities, too.",
    });
  // As libpq: with a root certificate at hand, require verifies the chain.
  const verifies = mode === "verify-full" || mode === "verify-ca" || (mode === "require" && ca !== undefined);
  const certificate = file(all, "sslcert", "postgresql.crt").text;
  const key = certificate === undefined ? undefined : file(all, "sslkey", "postgresql.key").text;
  const passphrase = all.get("sslpassword");
  const crl = file(all, "sslcrl", "root.crl").text;
  const minVersion = all.get("ssl_min_protocol_version") as tls.SecureVersion | undefined;
  const maxVersion = all.get("ssl_max_protocol_version") as tls.SecureVersion | undefined;
  return {
    rejectUnauthorized: verifies,
    checkServerIdentity: (_, peer) => (mode === "verify-full" ? tls.checkServerIdentity(host, peer) : undefined),
    ...(verifies ? { ca: ca ?? publicAuthorities() } : {}),
    ...(verifies && crl !== undefined ? { crl } : {}),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
  };
}

/** The file that the parameter names, which must be there, or libpq's own, which need not. */
function file(all: Parameters, name: string, usual: string): { readonly path: string; readonly text?: string } {
  const given = all.get(name);
  const path = given ?? join(homedir(), ".postgresql", usual);
  try {
    return { path, text: readFileSync(path, "utf8") };
  } catch (error) {
    if (given === undefined) return { path };
    throw new StorageError("E_CONFIG", `${name}: ${path} cannot be read`, {}, error);
  }
}

/** Those of the system and those that Node brings along. */
function publicAuthorities(): string[] {
  // Node before 22.15 has its own only.
  if (typeof tls.getCACertificates !== "function") return [...tls.rootCertificates];
  return [...new Set([...tls.getCACertificates("system"), ...tls.getCACertificates("default")])];
}

/** ~/.pgpass: host:port:database:user:password, with `*` for any. https://www.postgresql.org/docs/current/libpq-pgpass.html */
import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Host } from "./connection-parameters.js";

export interface PasswordLookup {
  readonly password: string | undefined;
  /** Why the file was left alone. */
  readonly ignored: string | undefined;
}

export function readPasswordFile(
  path: string | undefined,
  { host, port }: Host,
  database: string,
  user: string,
): PasswordLookup {
  const file = path ?? join(homedir(), ".pgpass");
  let text: string;
  try {
    const status = statSync(file);
    // As libpq: such a file is not used.
    if (process.platform !== "win32" && (status.mode & 0o077) !== 0)
      return { password: undefined, ignored: `${file} is open to others: chmod 0600 ${file}` };
    text = readFileSync(file, "utf8");
  } catch {
    return { password: undefined, ignored: undefined };
  }
  // A socket in the folder where libpq looks by itself goes by this name.
  const name = host === "/var/run/postgresql" || host === "/tmp" ? "localhost" : host;
  const wanted = [name, String(port), database, user];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    const fields = fieldsOf(line);
    if (
      fields.length >= 5 &&
      wanted.every((value, at) => fields[at] === "*" || unescaped(fields[at] as string) === value)
    )
      return { password: unescaped(fields[4] as string), ignored: undefined };
  }
  return { password: undefined, ignored: undefined };
}

/** By the colons that no backslash stands before. */
function fieldsOf(line: string): string[] {
  return line.match(/(?:\\.|[^:\\])+|(?<=^|:)(?=:|$)/g) ?? [];
}

function unescaped(field: string): string {
  return field.replace(/\\(.)/g, "$1");
}

/** One process at a time in an embedded database's folder: PGlite itself does not look. */
import { randomUUID } from "node:crypto";
import { link, readFile, readlink, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { StorageError } from "../../errors.js";

/** Who holds the lock: a process id alone may have been given to another process since. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** The process ids of what container it is one of (Linux), else "". */
  readonly space?: string;
  /** When the process started, in clock ticks since boot (Linux), else "". */
  readonly started: string;
}

async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    // The second field is the command in parentheses, and may hold anything; the start is the 22nd.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

function spaceOfIds(): Promise<string> {
  return readlink("/proc/self/ns/pid").catch(() => "");
}

async function isAlive({ pid, host, started, space }: Holder): Promise<boolean> {
  if (host !== hostname()) return true; // not ours to judge
  if (space !== undefined && space !== (await spaceOfIds())) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  return started === "" || (await startOf(pid)) === started;
}

function parseHolder(text: string): Holder | undefined {
  try {
    const holder = JSON.parse(text) as Partial<Holder>;
    return typeof holder.pid === "number" ? { host: "", started: "", ...holder, pid: holder.pid } : undefined;
  } catch {
    return undefined;
  }
}

/** Creates `path` with its content at once: a lock is never seen half written. */
async function tryCreate(path: string, content: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}`;
  await writeFile(draft, content, { flag: "wx", mode: 0o600 });
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Takes a dead holder's lock away; puts back what another process created in between. */
async function removeStale(path: string, stale: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return; // somebody else took it away
  }
  if ((await readFile(aside, "utf8")) !== stale) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

/**
 * Locks the folder by a file beside it, `<directory>.llmspell-lock`. A lock whose process is gone is taken over. Gives the release.
 * @throws {StorageError} E_LOCKED
 */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  const path = `${directory}.llmspell-lock`;
  const own: Holder = {
    pid: process.pid,
    host: hostname(),
    space: await spaceOfIds(),
    started: await startOf(process.pid),
  };
  // The token tells our own lock from a later one of the same process.
  const content = JSON.stringify({ ...own, token: randomUUID() });
  for (let attempt = 0; attempt < 20; attempt++) {
    if (await tryCreate(path, content)) {
      return async () => {
        if ((await readFile(path, "utf8").catch(() => "")) === content) await rm(path, { force: true });
      };
    }
    const found = await readFile(path, "utf8").catch(() => undefined);
    if (found === undefined) continue;
    const holder = parseHolder(found);
    if (holder === undefined || (await isAlive(holder)))
      throw new StorageError("E_LOCKED", "another process holds the embedded database", {
        detail: holder === undefined ? `${path} is not ours` : `process ${holder.pid} on ${holder.host}`,
        hint: `Wait for it to end. If it is not there any more, remove ${path}`,
      });
    await removeStale(path, found);
  }
  throw new StorageError("E_LOCKED", "another process holds the embedded database", { hint: `See ${path}` });
}

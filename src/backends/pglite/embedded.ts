/** PostgreSQL inside this process (PGlite), with the extensions that the schema needs. */
import { chmod, mkdir, readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Duplex } from "node:stream";
import type { PGlite } from "@electric-sql/pglite";
import { StorageError } from "../../errors.js";
import { lockDirectory } from "./directory-lock.js";

/** An open embedded server. */
export interface EmbeddedPostgres {
  /** What a client takes for its socket. */
  readonly socket: Duplex;
  /** Shuts the server down and frees the folder; repeatable. */
  close(): Promise<void>;
}

/** Stands for a socket: each write holds whole protocol messages, which PGlite answers in the same call. */
class ProtocolSocket extends Duplex {
  constructor(private readonly server: PGlite) {
    super();
  }

  /** What pg calls on a net.Socket. */
  connect(): this {
    setImmediate(() => this.emit("connect"));
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.server.execProtocolRaw(chunk).then(
      (answer) => {
        if (answer.length > 0) this.push(Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength));
        done();
      },
      (error: Error) => done(error),
    );
  }

  /** A COPY must come in one call, so what was corked together is sent together. */
  override _writev(writes: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this._write(Buffer.concat(writes.map(({ chunk }) => chunk)), "binary", done);
  }

  override _final(done: () => void): void {
    this.push(null);
    done();
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The folder by one name, whichever way it is reached, so that its lock is one too. */
async function canonicalPath(directory: string): Promise<string> {
  const path = resolve(directory);
  if (await exists(path)) return realpath(path);
  await mkdir(dirname(path), { recursive: true });
  return join(await realpath(dirname(path)), basename(path));
}

/**
 * Opens the database in `directory`. `create`: makes it when the folder is missing or empty.
 * @throws {StorageError} E_STORE_NOT_FOUND, E_LOCKED, E_PERMISSION, E_NOT_A_DATABASE
 */
export async function openEmbeddedPostgres(
  directory: string,
  { create = false }: { create?: boolean } = {},
): Promise<EmbeddedPostgres> {
  if (!create && !(await exists(join(directory, "PG_VERSION"))))
    throw new StorageError("E_STORE_NOT_FOUND", `there is no embedded PostgreSQL in ${directory}`, {
      hint: `Make one with \`llmspell database migrate --database pglite:${directory}\`.`,
    });
  let release: (() => Promise<void>) | undefined;
  try {
    const path = await canonicalPath(directory);
    release = await lockDirectory(path);
    const isNew = !(await exists(join(path, "PG_VERSION")));
    if (!(await exists(path))) await makePrivate(path);
    const server = await start(path);
    if (isNew) await closeToOthers(path);
    return { socket: new ProtocolSocket(server), close: closeOnce(server, release) };
  } catch (error) {
    await release?.();
    throw openError(error, directory);
  }
}

/** The folder keeps others out before there is anything in it, whatever the umask is. */
async function makePrivate(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  await chmod(path, 0o700).catch(() => {});
}

/** PGlite makes most files of a new database writable for everybody. */
async function closeToOthers(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    // A file may be gone by now, and some file systems have no modes.
    await chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600).catch(() => {});
  }
}

/** PGlite is loaded here, so that who does not use it does not pay for it. */
async function start(path: string): Promise<PGlite> {
  const [{ PGlite }, { vector }, { uuid_ossp }, { pgcrypto }] = await Promise.all([
    import("@electric-sql/pglite"),
    import("@electric-sql/pglite-pgvector"),
    import("@electric-sql/pglite/contrib/uuid_ossp"),
    import("@electric-sql/pglite/contrib/pgcrypto"),
  ]);
  return PGlite.create({ dataDir: path, extensions: { vector, uuid_ossp, pgcrypto } });
}

function closeOnce(server: PGlite, release: () => Promise<void>): () => Promise<void> {
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    try {
      if (!server.closed) await server.close();
    } finally {
      await release();
    }
  };
  return () => {
    closing ??= close();
    return closing;
  };
}

function openError(error: unknown, directory: string): StorageError {
  if (error instanceof StorageError) return error;
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (code === "EACCES" || code === "EPERM" || code === "EROFS")
    return new StorageError("E_PERMISSION", `the folder ${directory} cannot be written`, {}, error);
  if (code === "ENOSPC") return new StorageError("E_DISK_FULL", `no space for ${directory}`, {}, error);
  return new StorageError("E_NOT_A_DATABASE", `the embedded PostgreSQL in ${directory} does not start`, {}, error);
}

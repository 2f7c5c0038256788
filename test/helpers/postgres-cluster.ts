import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInstallScript } from "./system-packages.js";

/** A PostgreSQL server that lives as long as one test run, in a temporary folder, listening on 127.0.0.1 only. */
export interface PostgresCluster {
  /** Superuser URL of the maintenance database. */
  readonly url: string;
  /** Ends the server as a power failure would (immediate), and starts it again on the same port. */
  crash(): void;
  /** Starts the server again that has ended by itself, or is about to. */
  restart(): void;
  /** Stops the server and removes its folder. Synchronous, so that it can run while the process is ending. Repeatable. */
  stop(): void;
}

/** Thrown where this machine cannot give a server with pgvector; the message says why. */
export class PostgresUnavailable extends Error {}

const isRoot = process.getuid?.() === 0;
const folderPrefix = "llmspell-test-postgres-";

const settings = `
listen_addresses = '127.0.0.1'
max_connections = 50
max_locks_per_transaction = 256
# Nothing outlives the run, so durability is not paid for.
fsync = off
synchronous_commit = off
full_page_writes = off
jit = off
# Containers often have a /dev/shm of 64 MB, or none: too little for a parallel index build.
dynamic_shared_memory_type = mmap
# Unusual on purpose: the tool must not depend on the server's own time zone or date style.
timezone = 'Asia/Kathmandu'
datestyle = 'SQL, DMY'
`;

// Members of password_required must give a password, so that tests can prove what a wrong one does.
const hostBasedAuthentication = `
local all all trust
host all +password_required 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
`;

/** What a test's own server has otherwise. */
export interface ClusterOptions {
  /** Lines of postgresql.conf. */
  readonly settings?: string;
  /** Instead of the usual pg_hba.conf. */
  readonly hostBasedAuthentication?: string;
  /** In the data folder, by name; open to the server alone. */
  readonly files?: Readonly<Record<string, string>>;
  /** Where its WAL is to be, in segments of 1 MB: an empty folder. Default: 16 MB, in the data folder. */
  readonly wal?: string;
}

interface Outcome {
  readonly ok: boolean;
  readonly output: string;
}

function run(
  command: string,
  args: readonly string[],
  options: { asServer?: boolean; timeout?: number } = {},
): Outcome {
  // PostgreSQL refuses to run as root; the package's own account takes its place.
  const drop = isRoot && options.asServer === true;
  const result = spawnSync(drop ? "runuser" : command, drop ? ["-u", "postgres", "--", command, ...args] : args, {
    cwd: "/",
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: options.timeout ?? 120_000,
  });
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error ? result.error.message : ""}`;
  return { ok: result.status === 0, output };
}

function must(what: string, outcome: Outcome): void {
  if (!outcome.ok) throw new PostgresUnavailable(`${what} failed:\n${outcome.output.slice(-2000)}`);
}

function install(script: string, ...args: string[]): void {
  try {
    runInstallScript(script, ...args);
  } catch (error) {
    throw new PostgresUnavailable((error as Error).message);
  }
}

function findBinFolder(): string | undefined {
  const debian = "/usr/lib/postgresql";
  const majors = existsSync(debian) ? readdirSync(debian).filter((name) => /^\d+$/.test(name)) : [];
  const newestFirst = majors.sort((a, b) => Number(b) - Number(a)).map((major) => join(debian, major, "bin"));
  const configured = run("pg_config", ["--bindir"]);
  const candidates = configured.ok ? [...newestFirst, configured.output.trim()] : newestFirst;
  return candidates.find((folder) => existsSync(join(folder, "initdb")));
}

function findServer(): { bin: string; major: number } {
  let bin = findBinFolder();
  if (bin === undefined && isRoot) {
    install("install-postgresql.sh");
    bin = findBinFolder();
  }
  if (bin === undefined) throw new PostgresUnavailable("no PostgreSQL server programs (initdb) found");
  const version = run(join(bin, "postgres"), ["--version"], { asServer: true });
  const major = Number(/(\d+)(?:\.|\s|$)/.exec(version.output)?.[1]);
  if (!(major >= 15))
    throw new PostgresUnavailable(`PostgreSQL 15 or newer is needed, found: ${version.output.trim()}`);
  const share = run(join(bin, "pg_config"), ["--sharedir"], { asServer: true });
  const control = join(
    share.ok ? share.output.trim() : `/usr/share/postgresql/${major}`,
    "extension",
    "vector.control",
  );
  if (!existsSync(control)) {
    if (!isRoot)
      throw new PostgresUnavailable("the server lacks the pgvector extension; as root: scripts/install-pgvector.sh");
    install("install-pgvector.sh", String(major));
  }
  return { bin, major };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** Whether there is such a process. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The temporary root: as root it must be open to the account `postgres`, which a private TMPDIR is not. */
const temporaryRoot = isRoot ? "/tmp" : tmpdir();

function stopAndRemove(bin: string, folder: string): void {
  const data = join(folder, "data");
  if (existsSync(join(data, "postmaster.pid"))) {
    run(join(bin, "pg_ctl"), ["stop", "-D", data, "-m", "immediate", "-w", "-t", "20"], { asServer: true });
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** Removes servers whose test run was killed outright: a folder's name carries the process id of its run. */
function removeAbandoned(bin: string): void {
  for (const name of readdirSync(temporaryRoot)) {
    if (!name.startsWith(folderPrefix)) continue;
    const pid = Number(name.slice(folderPrefix.length).split("-")[0]);
    if (pid > 0 && !isAlive(pid)) stopAndRemove(bin, join(temporaryRoot, name));
  }
}

function initialise(bin: string, data: string, wal?: string): void {
  const apart = wal === undefined ? [] : ["-X", wal, "--wal-segsize=1"];
  const common = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", ...apart];
  // A linguistic collation, as production servers have: the tool's byte order must not lean on the server's.
  const icu = run(join(bin, "initdb"), [...common, "--locale-provider=icu", "--icu-locale=en-US"], { asServer: true });
  if (icu.ok) return;
  rmSync(data, { recursive: true, force: true });
  must("initdb", run(join(bin, "initdb"), common, { asServer: true }));
}

function giveToServer(path: string): void {
  if (!isRoot) return;
  const id = run("id", ["-u", "postgres"]);
  must("looking up the account postgres", id);
  chownSync(path, Number(id.output.trim()), -1);
}

/** A folder for a server, which the account of the server owns, and what stops the server and removes it. */
function createServerFolder(bin: string): { readonly folder: string; stop(): void } {
  const folder = mkdtempSync(join(temporaryRoot, `${folderPrefix}${process.pid}-`));
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    stopAndRemove(bin, folder);
  };
  giveToServer(folder);
  chmodSync(folder, 0o700);
  return { folder, stop };
}

/** Stops the server, which may have ended by itself (`isOver`), and starts it again. */
function startAgain(bin: string, folder: string, port: number, isOver = false): void {
  const data = ["-D", join(folder, "data"), "-w", "-t", "60"];
  const control = (...args: string[]): Outcome =>
    run("sh", ["-c", '"$0" "$@" >/dev/null 2>&1', join(bin, "pg_ctl"), ...args], { asServer: true });
  const stopped = control("stop", ...data, "-m", "immediate");
  if (!isOver) must("pg_ctl stop", stopped);
  must("pg_ctl start", control("start", ...data, "-l", join(folder, "server.log"), "-o", `-p ${port}`));
}

function clusterAt(bin: string, folder: string, port: number, stop: () => void): PostgresCluster {
  return {
    url: `postgresql://postgres@127.0.0.1:${port}/postgres`,
    crash: () => startAgain(bin, folder, port),
    restart: () => startAgain(bin, folder, port, true),
    stop,
  };
}

/** Where pg_dump is: TEST_PG_DUMP, which the server of TEST_DATABASE_URL may need, or that of the newest version that is installed. */
export function findPgDump(): string {
  return process.env["TEST_PG_DUMP"] ?? join(findServer().bin, "pg_dump");
}

/** Starts the server of the folder; gives its port. */
async function startServer(bin: string, folder: string): Promise<number> {
  const data = join(folder, "data");
  const log = join(folder, "server.log");
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const start = ["start", "-D", data, "-l", log, "-w", "-t", "60", "-o", `-p ${port}`];
    // pg_ctl's children inherit its output, so it must not be a pipe: the log file takes what the server says.
    const outcome = run("sh", ["-c", '"$0" "$@" >/dev/null 2>&1', join(bin, "pg_ctl"), ...start], { asServer: true });
    if (outcome.ok) return port;
    if (attempt === 3) {
      const reason = existsSync(log) ? readFileSync(log, "utf8").slice(-2000) : outcome.output;
      throw new PostgresUnavailable(`the server did not start:\n${reason}`);
    }
  }
}

/**
 * Starts a throwaway server, installing PostgreSQL and pgvector first where this is root on a Debian-like machine.
 * @throws {PostgresUnavailable} where no server with pgvector can be had
 */
export async function startPostgresCluster(options: ClusterOptions = {}): Promise<PostgresCluster> {
  const { bin } = findServer();
  removeAbandoned(bin);
  const { folder, stop } = createServerFolder(bin);
  try {
    const data = join(folder, "data");
    if (options.wal !== undefined) giveToServer(options.wal);
    initialise(bin, data, options.wal);
    appendFileSync(join(data, "postgresql.conf"), `${settings}unix_socket_directories = '${folder}'\n`);
    appendFileSync(join(data, "postgresql.conf"), options.settings ?? "");
    writeFileSync(join(data, "pg_hba.conf"), options.hostBasedAuthentication ?? hostBasedAuthentication);
    for (const [name, content] of Object.entries(options.files ?? {})) {
      writeFileSync(join(data, name), content, { mode: 0o600 });
      giveToServer(join(data, name));
    }
    const port = await startServer(bin, folder);
    const role = ["-qc", "CREATE ROLE password_required NOLOGIN"];
    must(
      "psql",
      run(join(bin, "psql"), ["-h", folder, "-p", String(port), "-U", "postgres", ...role], { asServer: true }),
    );
    return clusterAt(bin, folder, port, stop);
  } catch (error) {
    stop();
    throw error;
  }
}

/** Starts a hot standby of a server that `startPostgresCluster` gave, with further lines for its postgresql.conf. */
export async function startStandby(primary: PostgresCluster, configuration = ""): Promise<PostgresCluster> {
  const { bin } = findServer();
  const { folder, stop } = createServerFolder(bin);
  try {
    const data = join(folder, "data");
    const backup = ["-d", primary.url, "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync"];
    must("pg_basebackup", run(join(bin, "pg_basebackup"), backup, { asServer: true }));
    appendFileSync(
      join(data, "postgresql.conf"),
      `unix_socket_directories = '${folder}'\nhot_standby = on\n${configuration}\n`,
    );
    const port = await startServer(bin, folder);
    return clusterAt(bin, folder, port, stop);
  } catch (error) {
    stop();
    throw error;
  }
}

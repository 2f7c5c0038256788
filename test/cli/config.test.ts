import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Config, loadConfig } from "../../src/config/index.js";
import { StorageError } from "../../src/errors.js";
import { createWorkspace, type Outcome, type Workspace, withoutTimes } from "../helpers/llmspell.js";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-config-"));
  mkdirSync(join(folder, "user", "llmspell"), { recursive: true });
  mkdirSync(join(folder, "work"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const workFile = (text: string): void => writeFileSync(join(folder, "work", "config.toml"), text);
const userFile = (text: string): void => writeFileSync(join(folder, "user", "llmspell", "config.toml"), text);

function load(environment: Record<string, string> = {}): Config {
  return loadConfig({
    environment: { XDG_CONFIG_HOME: join(folder, "user"), ...environment },
    directory: join(folder, "work"),
  });
}

function failure(environment: Record<string, string> = {}): StorageError {
  try {
    load(environment);
  } catch (error) {
    expect(error).toBeInstanceOf(StorageError);
    return error as StorageError;
  }
  throw new Error("the configuration was accepted");
}

describe("the configuration", () => {
  it("has defaults", () => {
    expect(load()).toMatchObject({
      backend: undefined,
      sqlite: { path: join(homedir(), ".local/share/llmspell/llmspell.db"), vectors: "blob" },
      postgresql: { url: undefined, connectionTimeoutSeconds: 30 },
    });
  });

  it("takes the environment before the working directory's file, and that before the user's", () => {
    userFile(
      '[storage.sqlite]\npath = "/user.db"\nvectors = "vec0"\n[storage.postgresql]\nconnection_timeout_seconds = 7\n',
    );
    expect(load().sqlite).toMatchObject({ path: "/user.db", vectors: "vec0" });
    workFile('[storage.sqlite]\npath = "~/work.db"\n');
    expect(load().sqlite).toMatchObject({ path: join(homedir(), "work.db"), vectors: "vec0" });
    expect(load({ LLMSPELL_SQLITE_PATH: "here.db" }).sqlite.path).toBe(join(folder, "work", "here.db"));
    expect(load().postgresql.connectionTimeoutSeconds).toBe(7);
  });

  it("reads only the file that LLMSPELL_CONFIG names", () => {
    workFile("this is no TOML");
    writeFileSync(join(folder, "other.toml"), '[storage]\nbackend = "postgresql"\n');
    expect(load({ LLMSPELL_CONFIG: join(folder, "other.toml") }).backend?.name).toBe("postgresql");
    expect(failure({ LLMSPELL_CONFIG: join(folder, "missing.toml") })).toMatchObject({
      code: "E_CONFIG",
      exitStatus: 2,
    });
  });

  it("chooses the backend by [storage] backend, then by DATABASE_URL", () => {
    expect(load({ DATABASE_URL: "postgresql://localhost/a" }).backend).toEqual({
      name: "postgresql",
      reason: "DATABASE_URL is set",
    });
    workFile('[storage]\nbackend = "sqlite"\n');
    expect(load({ DATABASE_URL: "postgresql://localhost/a" }).backend?.name).toBe("sqlite");
    workFile('[storage]\nbackend = "postgres"\n');
    expect(load().backend?.name).toBe("postgresql");
  });

  it.each([
    [
      'host = "db"\nport = 5433\ndatabase = "my db"\nusername = "me@work"\npassword = "p/a:s@s"',
      "postgresql://me%40work:p%2Fa%3As%40s@db:5433/my%20db",
    ],
    ['database = "only"', "postgresql://localhost:5432/only"],
    ['host = "::1"', "postgresql://[::1]:5432/llmspell"],
    ['host = "/run/postgresql"\nusername = "me"', "postgresql://me@localhost:5432/llmspell?host=%2Frun%2Fpostgresql"],
    ['url = "postgres://u:p@h/d"', "postgres://u:p@h/d"],
  ])("makes the URL of %j", (table, url) => {
    workFile(`[storage.postgresql]\n${table}\n`);
    expect(load().postgresql.url).toBe(url);
    expect(load({ DATABASE_URL: "postgresql://stronger/d" }).postgresql.url).toBe("postgresql://stronger/d");
  });

  it("never sends one file's password to another file's host", () => {
    userFile('[storage.postgresql]\nhost = "mine"\npassword = "secret"\n');
    workFile('[storage.postgresql]\nhost = "elsewhere"\n');
    expect(load().postgresql.url).toBe("postgresql://elsewhere:5432/llmspell");
  });

  it("leaves llmspell's own keys alone", () => {
    workFile('[models]\ndefault = "x"\n[storage]\nbackend = "sqlite"\npool = 5\n[storage.postgresql]\npool_size = 3\n');
    expect(load().backend?.name).toBe("sqlite");
  });

  it.each([
    ["[storage]\nbackend = 'mysql'", "storage.backend"],
    ["[storage.postgresql]\nport = 70000", "storage.postgresql.port"],
    ["[storage.postgresql]\nconnection_timeout_seconds = '30'", "storage.postgresql.connection_timeout_seconds"],
    ["[storage.sqlite]\npath = 5", "storage.sqlite.path"],
    ["[transforms]\nmask = ['sessions.session_data=redact']", "transforms"],
    ["[transform]\nsteps = [{ mask = 'sessions.session_data=redact' }]", "transform"],
    ["[Transforms]\nsteps = [{ mask = 'sessions.session_data=redact' }]", "Transforms"],
    ["[storage.transforms]\nsteps = [{ mask = 'sessions.session_data=redact' }]", "storage.transforms"],
  ])("refuses %j and names the key", (text, key) => {
    workFile(text);
    const error = failure();
    expect(error.code).toBe("E_CONFIG");
    expect(error.context.detail).toContain(`${key}: `);
  });

  it.each([
    ["[storage.postgresql]\nurl = 'postgresql://u:topsecret@h/d'\nhost = 'h'"],
    ["[storage.postgresql]\nurl = 'mysql://u:topsecret@h/d'"],
    ["[storage.postgresql]\nhost = 'h'\npassword = 'topsecret\n"],
    ["[storage.postgresql]\npassword = ['topsecret']"],
    ["[storage.postgresql]\nurl = 'postgresql://a'\n[storage.postgres]\npassword = 'topsecret'"],
  ])("refuses %j without showing the password", (text) => {
    workFile(text);
    const error = failure();
    expect(error.code).toBe("E_CONFIG");
    expect(`${error.message} ${JSON.stringify(error.context)} ${String(error.cause)}`).not.toContain("topsecret");
  });
});

describe("a config.toml of the working directory", () => {
  const BRINGS = `[storage.postgresql]\nurl = "postgresql://me:secret@db.example.com:5433/x"
    [transforms]\non = ["export"]\n[[transforms.steps]]\njq = "."\n[[transforms.steps]]\nmask = "sessions.session_data.email=redact"\n`;
  const run = (workspace: Workspace, env: Readonly<Record<string, string>>, ...words: string[]): Promise<Outcome> =>
    workspace.run(["database", "migrate", "--database", "x.db", ...words], { env });

  it("that names a server or changes records is announced, also with --quiet", async () => {
    using workspace = createWorkspace();
    writeFileSync(workspace.path("config.toml"), BRINGS);
    const { stderr, status } = await run(workspace, {}, "--quiet");
    expect([status, withoutTimes(stderr)]).toEqual([
      0,
      `Settings of this folder's ${workspace.path("config.toml")}: the server db.example.com:5433; for export: jq .; mask sessions.session_data.email=redact\n`,
    ]);
    const json = await workspace.run(
      ["storage", "export", "--database", "x.db", "--output", "-", "--json", "--quiet"],
      {},
    );
    expect((JSON.parse(json.stderr) as { warnings: string[] }).warnings[0]).toContain("db.example.com");
  });

  it("is not when it is the user's own, or sets defaults only", async () => {
    using workspace = createWorkspace();
    writeFileSync(workspace.path("config.toml"), BRINGS);
    const named = { LLMSPELL_CONFIG: workspace.path("config.toml") };
    expect((await run(workspace, named, "--quiet")).stderr).toBe("");
    writeFileSync(workspace.path("config.toml"), '[storage]\nbackend = "sqlite"\n[storage.sqlite]\npath = "mine.db"\n');
    expect((await run(workspace, {}, "--quiet")).stderr).toBe("");
    writeFileSync(workspace.path("config.toml"), '[storage.sqlite]\npath = "/elsewhere/mine.db"\n');
    expect((await run(workspace, {}, "--quiet")).stderr).toContain("the database /elsewhere/mine.db");
  });
});

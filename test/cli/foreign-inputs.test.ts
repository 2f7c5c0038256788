/** What people hand to `storage import` that is no document: they are told what it is, and by which command it is read. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

let workspace: Workspace;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);

beforeAll(async () => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("source.db"));
  fillSqlite(workspace.path("source.db"), { records: 3 });
  await workspace.must(["storage", "export", "--database", "source.db", "--output", "a.json"]);
});
afterAll(() => workspace[Symbol.dispose]());

async function refusal(input: string, stdin?: Buffer): Promise<{ what: string; hint: string }> {
  const target = fresh(".db");
  const args = ["storage", "import", "--database", target, "--input", input, "--quiet"];
  const { status, stderr } = await workspace.run(args, stdin === undefined ? {} : { stdin });
  expect([status, existsSync(target)]).toEqual([4, false]);
  const [first, cause = "", hint = "", rest] = stderr.split("\n");
  expect(first).toMatch(/^Error: Failed to parse export JSON \[E_(DOCUMENT_PARSE|INVALID_UTF8)\]$/);
  expect(rest).toBe("");
  return { what: /^Caused by: the input is (.*), not an export document$/.exec(cause)?.[1] ?? stderr, hint };
}

/** The hint's command, run as it is said, imports what the document holds. */
async function follow(hint: string): Promise<void> {
  const target = fresh(".db");
  const command = /`([^`]* \| llmspell storage import --input -)`/.exec(hint)?.[1];
  await workspace.bash(`${command} --quiet`, { env: { LLMSPELL_SQLITE_PATH: target } });
  await workspace.must(["storage", "export", "--database", target, "--output", `${target}.json`]);
  const dataOf = (path: string): unknown => (JSON.parse(readFileSync(path, "utf8")) as { data: unknown }).data;
  expect(dataOf(`${target}.json`)).toEqual(dataOf(workspace.path("a.json")));
}

describeWithTools(["gzip", "zstd", "xz-utils", "bzip2", "zip", "unzip"], "an input that only needs unpacking", () => {
  const utf16 = (text: string, bom: string): Buffer => Buffer.from(bom + text.replaceAll("\n", "\r\n"), "utf16le");
  const document = (): string => readFileSync(workspace.path("a.json"), "utf8");
  const made = (name: string, bytes: Buffer): string => {
    writeFileSync(workspace.path(name), bytes);
    return name;
  };
  const packed = async (name: string, command: string): Promise<string> => {
    await workspace.bash(command);
    return name;
  };
  const cases: Record<string, readonly [what: string, make: () => Promise<string> | string]> = {
    "PowerShell's UTF-16": ["UTF-16 text", () => made("utf16.json", utf16(document(), "\ufeff"))],
    "UTF-16, big endian": ["UTF-16 text", () => made("utf16be.json", utf16(document(), "\ufeff").swap16())],
    "UTF-16 without a mark": ["UTF-16 text", () => made("utf16 le.json", utf16(document(), ""))],
    "UTF-16, big endian, without a mark": ["UTF-16 text", () => made("it's.json", utf16(document(), "").swap16())],
    xz: ["compressed with xz", () => packed("a.json.xz", "xz -k a.json")],
    bzip2: ["compressed with bzip2", () => packed("a.json.bz2", "bzip2 -k a.json")],
    zip: ["a zip archive", () => packed("a.zip", "zip -q a.zip a.json")],
    tar: ["a tar archive", () => packed("a.tar", "tar -cf a.tar a.json")],
    "tar.gz": ["a tar archive", () => packed("a.tar.gz", "tar -czf a.tar.gz a.json")],
    "gzip in gzip": [
      "compressed twice (gzip)",
      () => packed("twice.json.gz", "gzip -c a.json | gzip -c > twice.json.gz"),
    ],
    "gzip in zstd": [
      "compressed twice (gzip)",
      () => packed("twice.json.zst", "gzip -c a.json | zstd -q > twice.json.zst"),
    ],
    "zstd in gzip": ["compressed twice (zstd)", () => packed("zst.json.gz", "zstd -qc a.json | gzip -c > zst.json.gz")],
    "xz in zstd": ["compressed with xz", () => packed("xz.zst", "xz -c a.json | zstd -q > xz.zst")],
  };

  it.each(Object.entries(cases))("is named, and the hint's command reads it: %s", async (_, [expected, make]) => {
    const { what, hint } = await refusal(await make());
    expect(what).toBe(expected);
    await follow(hint);
  });

  it("is named on standard input, too", async () => {
    await workspace.bash("xz -c a.json > stdin.xz");
    const { what, hint } = await refusal("-", readFileSync(workspace.path("stdin.xz")));
    expect(what).toBe("compressed with xz");
    expect(hint).toBe("Hint: `… | xz -dc | llmspell storage import --input -` reads it.");
  });
});

describe("an input that is another kind of store", () => {
  const dump = Buffer.from("--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n");

  it("is named: an SQLite database, with the command that copies it", async () => {
    const { what, hint } = await refusal("source.db");
    expect(what).toBe("an SQLite database");
    const command = /`(llmspell storage migrate --from \S+ --to )…`/.exec(hint)?.[1];
    await workspace.bash(`${command} ${fresh(".db")} --quiet`);
  });

  it("is named: packed, or from a stream", async () => {
    writeFileSync(workspace.path("db.gz"), gzipSync(readFileSync(workspace.path("source.db"))));
    expect((await refusal("db.gz")).hint).toMatch(
      /^Hint: Save it \(gzip -dc \S+db\.gz\) as FILE\. .*--from sqlite:FILE /,
    );
    expect((await refusal("-", readFileSync(workspace.path("source.db")))).hint).toMatch(/^Hint: Save it as FILE\. /);
  });

  it.each([
    ["an archive of pg_dump", Buffer.from("PGDMP\u0001\u000e\u0000\u0004"), "pg_restore --dbname=restored /"],
    ["SQL of pg_dump", dump, "psql --dbname=restored --file=/"],
    [
      "SQL of sqlite3's .dump",
      Buffer.from("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"),
      "sqlite3 restored.db < /",
    ],
    [
      "a web page",
      Buffer.from("<!DOCTYPE html>\n<html><title>Sign in</title></html>\n"),
      "perhaps an error or a log-in",
    ],
  ])("is named: %s", async (expected, bytes, hinted) => {
    writeFileSync(workspace.path("other"), bytes);
    const { what, hint } = await refusal("other");
    expect(what).toBe(expected);
    expect(hint).toContain(hinted);
  });
});

describeWithTools(["zstd"], "zstd that looks far back", () => {
  it.each([28, 31])("is read from a file and from a pipe: --long=%d", async (bits) => {
    // From a pipe zstd does not know how much comes, and asks for the whole window.
    await workspace.bash(`cat a.json | zstd -q --ultra --long=${bits} > far.json.zst`);
    await workspace.must(["storage", "import", "--database", fresh(".db"), "--input", "far.json.zst"]);
    await workspace.bash(`cat far.json.zst | llmspell storage import --database ${fresh(".db")} --input -`);
  });

  it("is refused beyond 2 GiB, with a hint", async () => {
    const bytes = zstdCompressSync(Buffer.alloc(1000, " "));
    // A frame's header with a window of 4 GiB (RFC 8878, 3.1.1.1.2): exponent 22, no single segment, no content size.
    const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 22 << 3]);
    writeFileSync(workspace.path("beyond.zst"), Buffer.concat([header, bytes.subarray(8)]));
    const { status, stderr } = await workspace.run([
      "storage",
      "import",
      "--database",
      "x.db",
      "--input",
      "beyond.zst",
    ]);
    expect(status).toBe(4);
    expect(stderr).toContain("[E_DOCUMENT_COMPRESSION]");
    expect(stderr).toContain("Hint: ");
  });
});

/** Where `--rejects` and `--output` lead, by whatever name: never into one another, nor over what the run reads. */
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

describe("--rejects", () => {
  let workspace: Workspace;
  beforeAll(async () => {
    workspace = createWorkspace();
    writeFileSync(
      workspace.path("bad.json"),
      documentText({ kv_store: [records.kv(1), records.kv(2, { created_at: "x" })] }),
    );
    writeFileSync(workspace.path("good.json"), documentText({ kv_store: [records.kv(1), records.kv(2)] }));
    await workspace.must(["storage", "import", "--database", "source.db", "--input", "good.json"]);
    const database = new Database(workspace.path("source.db"));
    database.exec("UPDATE kv_store SET created_at = 'x', created_at_us = NULL WHERE key = 'k2'");
    database.close();
  });
  beforeEach(() => {
    rmSync(workspace.path("run"), { recursive: true, force: true });
    mkdirSync(workspace.path("run"));
  });
  afterAll(() => workspace[Symbol.dispose]());

  /** A shell line after `export` or `import`; its status, and what came where. */
  async function shell(line: string) {
    const { stdout } = await workspace.bash(`cd run; set +eo pipefail; { ${line}; } 2>err; echo "status $?"`);
    return {
      stdout,
      stderr: readFileSync(workspace.path("run/err"), "utf8"),
      files: readdirSync(workspace.path("run")).sort(),
    };
  }
  const EXPORT = "llmspell storage export --database ../source.db --on-error skip";
  const IMPORT = "llmspell storage import --database target.db --on-error skip";

  it.each([
    ["the output, which is not there yet", `${EXPORT} --output out.json --rejects out.json`],
    ["a symlink to it", `ln -s out.json link; ${EXPORT} --output out.json --rejects link`],
    ["what its symlink leads to", `ln -s out.json link; ${EXPORT} --output link --rejects out.json`],
    ["it through another folder", `ln -s . here; ${EXPORT} --output out.json --rejects here/out.json`],
    [
      "a hard link of it",
      `printf '{"section":' > out.json; ln out.json hard; ${EXPORT} --output out.json --rejects hard --force`,
    ],
    [
      "a hard link of the input",
      `printf '{"section":' > in.json; ln in.json hard; ${IMPORT} --input in.json --rejects hard`,
    ],
    ["the standard input", `printf '{"section":' > in.json; ${IMPORT} --input - --rejects in.json < in.json`],
    ["the new database", `${IMPORT} --input ../bad.json --rejects target.db`],
    ["the new database's log", `${IMPORT} --input ../bad.json --rejects target.db-wal`],
    ["the FIFO of the output", `mkfifo f; ${EXPORT} --output f --rejects f`],
    ["standard output, with the document", `${EXPORT} --output - --rejects -`],
    ["/dev/stdout, with the document", `${EXPORT} --output - --rejects /dev/stdout | cat; (exit \${PIPESTATUS[0]})`],
    [
      "a link to it, with the document",
      `ln -s /dev/stdout l; ${EXPORT} --output - --rejects l | cat; (exit \${PIPESTATUS[0]})`,
    ],
    ["/dev/fd/1, with the document in a file", `${EXPORT} --output - --rejects /dev/fd/1 > out.json`],
    ["standard output, with the result", `${IMPORT} --input ../bad.json --rejects -`],
    [
      "/proc/self/fd/1, with the JSON result",
      `${IMPORT} --input ../bad.json --json --rejects /proc/self/fd/1 | cat; (exit \${PIPESTATUS[0]})`,
    ],
    ["the file of standard error", `${IMPORT} --input ../bad.json --rejects err`],
  ])("is refused where it names %s", async (_what, line) => {
    const { stdout, stderr, files } = await shell(line);
    expect([stdout.split("\n").at(-2), stderr]).toEqual([
      "status 2",
      expect.stringMatching(/--rejects names .*\[E_USAGE\]/),
    ]);
    expect(files).not.toContain("target.db");
  });

  const REJECT = /^\{"section":"kv_store","key":"kv_id=[^\n]*\}\n$/;

  it("goes to standard output where nothing else does", async () => {
    for (const name of ["-", "/dev/stdout", "/dev/fd/1"]) {
      rmSync(workspace.path("run/target.db"), { force: true });
      const { stdout } = await shell(
        `${IMPORT} --input ../bad.json --quiet --rejects ${name} | cat; (exit \${PIPESTATUS[0]})`,
      );
      expect(stdout.replace("status 6\n", "")).toMatch(REJECT);
    }
    rmSync(workspace.path("run/target.db"), { force: true });
    await shell(
      `${IMPORT} --input ../bad.json --quiet --rejects - > r; ${EXPORT} --output o.json --quiet --rejects - >> r`,
    );
    expect(
      readFileSync(workspace.path("run/r"), "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).code),
    ).toEqual(["E_FIELD_TYPE", "E_FIELD_TYPE"]);
  });

  it("goes to a FIFO, a process substitution, and nowhere", async () => {
    const fifo = await shell(
      `mkfifo f; cat f > got & ${IMPORT} --input ../bad.json --rejects f; s=$?; wait; (exit $s)`,
    );
    expect(fifo.stdout).toContain("status 6");
    expect(readFileSync(workspace.path("run/got"), "utf8")).toMatch(REJECT);
    const nowhere = await shell(
      `${EXPORT} --output - --rejects /dev/null > /dev/null; ${EXPORT} --output o.json --rejects /dev/null`,
    );
    expect(nowhere.stdout).toContain("status 6");
  });

  it("ends the run where it cannot be written, and its reader's going away, too", async () => {
    const full = await shell(`${IMPORT} --input ../bad.json --rejects /dev/full`);
    expect([full.stdout.split("\n").at(-2), full.stderr]).toEqual([
      "status 1",
      expect.stringContaining("[E_DISK_FULL]"),
    ]);
    const gone = await shell(
      `mkfifo f; head -c 0 f & ${IMPORT} --input ../bad.json --rejects f; s=$?; wait; (exit $s)`,
    );
    expect([gone.stdout.split("\n").at(-2), gone.stderr]).toEqual(["status 1", expect.stringContaining("[E_IO]")]);
    expect(gone.files).not.toContain("target.db");
  });
});

describe("--output", () => {
  let workspace: Workspace;
  beforeAll(async () => {
    workspace = createWorkspace();
    writeFileSync(workspace.path("good.json"), documentText({ kv_store: [records.kv(1)] }));
    await workspace.must(["storage", "import", "--database", "source.db", "--input", "good.json"]);
    symlinkSync("/dev/stdout", workspace.path("link"));
    linkSync(workspace.path("good.json"), workspace.path("hard.json"));
  });
  afterAll(() => workspace[Symbol.dispose]());

  it("is standard output by any of its names: the document is alone there", async () => {
    for (const name of ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "./link"]) {
      const { stdout } = await workspace.must(["storage", "export", "--database", "source.db", "--output", name]);
      expect(JSON.parse(stdout)).toMatchObject({ version: "1.0" });
    }
  });

  it("says that standard output is closed", async () => {
    const { stdout } = await workspace.bash(
      "llmspell storage export --database source.db --output - >&- 2>err || s=$?; echo $s; cat err",
    );
    expect(stdout).toMatch(/^2\nError: standard output is closed \[E_USAGE\]\n/);
    await workspace.bash("llmspell storage export --database source.db --output - >/dev/null");
    // Only a document needs it.
    await workspace.bash("llmspell storage export --database source.db --output a.json >&- 2>&-");
  });
});

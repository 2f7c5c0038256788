/** Ends that say what became of the data: text that nobody reads, and signals while the server commits. */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";

let workspace: Workspace;
beforeAll(async () => {
  workspace = createWorkspace();
  writeFileSync(workspace.path("in.json"), documentText({ kv_store: [records.kv(1), records.kv(2)] }));
  writeFileSync(
    workspace.path("bad.json"),
    documentText({ kv_store: [records.kv(1), records.kv(2, { created_at: "x" })] }),
  );
  await workspace.must(["storage", "import", "--database", "source.db", "--input", "in.json"]);
});
afterAll(() => workspace[Symbol.dispose]());

/** The status of the first command of the line, and what it says on standard error. */
async function statusOf(line: string) {
  rmSync(workspace.path("target.db"), { force: true });
  const { stdout } = await workspace.bash(
    `set +eo pipefail; ${line}; echo "\${PIPESTATUS[0]}" >&3`.replace(/^/, "exec 3>&1; "),
  );
  return { status: stdout, stderr: readFileSync(workspace.path("err"), "utf8") };
}

function count(): number {
  const database = new Database(workspace.path("target.db"), { readonly: true });
  const rows = database.prepare("SELECT count(*) FROM kv_store").pluck().get() as number;
  database.close();
  return rows;
}

const IMPORT = "llmspell storage import --database target.db";

describe("text that nobody reads", () => {
  it.each(["", "--json", "--verbose"])("does not undo an import, nor change its status (%s)", async (flags) => {
    const done = await statusOf(`${IMPORT} --input in.json ${flags} 2>err | true`);
    expect([done.status, count()]).toEqual(["0\n", 2]);
    expect(done.stderr).not.toContain("Error");
    const rejected = await statusOf(`${IMPORT} --input bad.json --on-error skip ${flags} 2>err | true`);
    expect([rejected.status, count()]).toEqual(["6\n", 1]);
  });

  it("does not, either, where it was for standard error", async () => {
    const done = await statusOf(`${IMPORT} --input in.json --log-format json 2>&1 >/dev/null | true; : > err`);
    expect(count()).toBe(2);
    expect(done.stderr).toBe("");
  });

  it("leaves the status of an import that it could not be written for: the records are there, and it is said", async () => {
    for (const [input, flags, status, rows] of [
      ["in.json", "--json", "0\n", 2],
      ["in.json", "", "0\n", 2],
      ["bad.json", "--on-error skip --json", "6\n", 1],
    ] as const) {
      const full = await statusOf(`${IMPORT} --input ${input} ${flags} 2>err >/dev/full`);
      expect([full.status, count()]).toEqual([status, rows]);
      expect(full.stderr).toContain("Error: Ran out of disk space writing standard output [E_DISK_FULL]");
      expect(full.stderr).toContain("Hint: The command itself is done; only what it prints is lost.");
    }
  });

  it("leaves that of an export to a file, of a migration, and of help", async () => {
    for (const line of [
      "llmspell storage export --database source.db --output out.json",
      "llmspell database migrate --database target.db",
      "llmspell storage migrate --from source.db --to target.db",
      "llmspell --help",
    ]) {
      expect((await statusOf(`${line} 2>err | true`)).status).toBe("0\n");
      expect((await statusOf(`${line} 2>err >/dev/full`)).status).toBe("0\n");
    }
    expect(JSON.parse(readFileSync(workspace.path("out.json"), "utf8"))).toMatchObject({ version: "1.0" });
  });

  it("is an error where it is the document, or all there is of a command", async () => {
    for (const line of ["llmspell storage export --database source.db --output -", "llmspell storage info source.db"]) {
      expect((await statusOf(`${line} 2>err | true`)).status).toBe("141\n");
      const full = await statusOf(`${line} 2>err >/dev/full`);
      expect([full.status, full.stderr]).toEqual(["1\n", expect.stringContaining("[E_DISK_FULL]")]);
    }
  });
});

describePostgres("a signal while the server commits", () => {
  it.each([
    ["SIGINT", 130, "E_INTERRUPTED", "interrupted"],
    ["SIGTERM", 143, "E_TERMINATED", "terminated"],
  ] as const)("%s says that nobody knows whether the records come", async (signal, status, code, word) => {
    await using database = await createDatabase("completed");
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      // It runs in the COMMIT, and waits there for us.
      await client.query(`
        CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_advisory_xact_lock(815); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER waiting AFTER INSERT ON llmspell.kv_store DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION public.wait();
        ALTER TABLE llmspell.kv_store ENABLE ALWAYS TRIGGER waiting;
        SELECT pg_advisory_lock(815)`);
      const words = ["storage", "import", "--database", database.url, "--input", "in.json", "--json"];
      const child = workspace.start(words);
      const outcome = outcomeOf(child);
      const waiting =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT' AND wait_event = 'advisory'";
      while ((await client.query(waiting)).rowCount === 0) {
        expect(child.exitCode).toBe(null);
        await sleep(20);
      }
      child.kill(signal);
      const { status: ended, stdout, stderr } = await outcome;
      expect(ended).toBe(status);
      expect(stderr).toContain(
        `Error: ${word} while the server was committing: the target may have all of the records, or none [${code}]`,
      );
      expect(stderr).toMatch(/Hint: Run the import again/);
      expect(JSON.parse(stdout)).toMatchObject({ error: { code, outcomeUnknown: true } });
    } finally {
      await client.end();
    }
  });
});

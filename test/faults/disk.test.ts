/** A full disk, a read-only target: a coded error, the right exit status, and nothing changed or left behind. */
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { postgresDigest, sqliteDigest, withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, WITH_ALLOCATOR, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { createTargets, dumpOf, SMALL_PARTS, unfinishedState } from "../helpers/runs.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { isOrdinary } from "../helpers/scale.js";
import { canMount, command, mountSmall, type SmallDisk } from "../helpers/small-disk.js";
import { startWithSmallWal } from "../helpers/small-wal.js";

describe("disks", () => {
  let workspace: Workspace;
  let document: string;

  beforeAll(async () => {
    workspace = createWorkspace(WITH_ALLOCATOR);
    const sqlite = workspace.path("source.db");
    document = workspace.path("source.json");
    createLlmspellSqlite(sqlite);
    fillSqlite(sqlite, { records: 300, contentSizes: [3 * 1048576, 5] });
    await workspace.must(["storage", "export", "--database", sqlite, "--output", document]);
  });

  afterAll(() => workspace[Symbol.dispose]());

  it("ends an export to a full device with its code", async () => {
    const source = workspace.path("source.db");
    const { status, stderr } = await workspace.run([
      "storage",
      "export",
      "--database",
      source,
      "--output",
      "/dev/full",
    ]);
    expect(stderr).toContain("Error: Ran out of disk space writing export file [E_DISK_FULL]");
    expect(status).toBe(1);
    const redirected = await workspace.bash(
      `llmspell storage export --database ${source} --output - > /dev/full 2> err || cat err`,
    );
    expect(redirected.stdout).toContain("Error: Ran out of disk space writing export file [E_DISK_FULL]");
  });

  it.runIf(canMount)("leaves no half file of an export that filled the disk", async () => {
    using small = mountSmall(2) as SmallDisk;
    for (const name of ["export.json", "export.json.gz"]) {
      const output = join(small.folder, name);
      const source = workspace.path("source.db");
      const { status, stderr } = await workspace.run(["storage", "export", "--database", source, "--output", output]);
      expect(stderr).toContain("Error: Ran out of disk space writing export file [E_DISK_FULL]");
      expect(status).toBe(1);
      expect(readdirSync(small.folder)).toEqual([]);
    }
  });

  it.runIf(canMount)("a report that the disk has no room for is said to be lost, and leaves nothing", async () => {
    using small = mountSmall(1) as SmallDisk;
    small.fill(2);
    const source = workspace.path("source.db");
    const words = ["storage", "export", "--database", source, "--output", workspace.path("reported.json")];
    const { stderr } = await workspace.run([...words, "--report", join(small.folder, "report.html")]);
    expect(stderr).toContain("Error: the report was not written: no space is left where it goes [E_DISK_FULL]");
    expect(stderr).toContain("The command itself is done");
    expect(readdirSync(small.folder)).toEqual(["ballast"]);
  });

  it.runIf(canMount)("rolls back an import into SQLite that filled the disk", async () => {
    using small = mountSmall(40) as SmallDisk;
    const target = join(small.folder, "target.db");
    createLlmspellSqlite(target);
    fillSqlite(target, { records: 20, seed: "own", contentSizes: [] });
    await workspace.must(["database", "migrate", "--database", target]);
    const before = sqliteDigest(target);
    small.fill(2048);
    const { status, stderr } = await workspace.run(["storage", "import", "--database", target, "--input", document]);
    expect(stderr).toContain("[E_DISK_FULL]");
    expect(status).toBe(1);
    expect(sqliteDigest(target)).toBe(before);
  });

  it.runIf(canMount)("refuses a SQLite target on a read-only file system", async () => {
    using small = mountSmall(20) as SmallDisk;
    const target = join(small.folder, "target.db");
    createLlmspellSqlite(target);
    small.readOnly();
    const { status, stderr } = await workspace.run(["storage", "import", "--database", target, "--input", document]);
    expect(stderr).toContain("[E_READ_ONLY]");
    expect(status).toBe(3);
  });

  it.runIf(process.getuid?.() !== 0)("refuses a SQLite target without write permission", async () => {
    const target = workspace.path("read-only.db");
    copyFileSync(workspace.path("source.db"), target);
    chmodSync(target, 0o444);
    const { status, stderr } = await workspace.run(["storage", "import", "--database", target, "--input", document]);
    expect(stderr).toContain("[E_READ_ONLY]");
    expect(status).toBe(3);
  });

  it("refuses a SQLite target that is no database, and leaves it as it is", async () => {
    const target = workspace.path("text.db");
    writeFileSync(target, "this is no database, but a text that somebody needs\n".repeat(100));
    const { status, stderr } = await workspace.run(["storage", "import", "--database", target, "--input", document]);
    expect(stderr).toContain("[E_NOT_A_DATABASE]");
    expect(status).toBe(3);
  });

  describePostgres("of a PostgreSQL server", () => {
    it("refuses a database that is read-only", async () => {
      await using database = await createDatabase("migrated");
      const before = await postgresDigest(database.url);
      await withClient(postgresAdminUrl(), (client) =>
        client.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = on`),
      );
      const { status, stderr } = await workspace.run([
        "storage",
        "import",
        "--database",
        database.url,
        "--input",
        document,
      ]);
      expect(stderr).toContain("[E_READ_ONLY]");
      expect(status).toBe(3);
      expect(await postgresDigest(database.url)).toBe(before);
    });

    it.runIf(canMount)("rolls back an import that filled the disk", async () => {
      using small = mountSmall(40) as SmallDisk;
      const folder = join(small.folder, "tablespace");
      mkdirSync(folder);
      if (!command("chown", "-R", "postgres", small.folder)) return;
      await withClient(postgresAdminUrl(), (client) => client.query(`CREATE TABLESPACE small LOCATION '${folder}'`));
      try {
        await using database = await createTestDatabase();
        await withClient(postgresAdminUrl(), (client) =>
          client.query(`ALTER DATABASE ${database.name} SET TABLESPACE small`),
        );
        await workspace.must(["database", "migrate", "--database", database.url]);
        const before = await postgresDigest(database.url);
        // Leave too little for the document, whatever the empty schema takes.
        small.fill(2048);
        const { status, stderr } = await workspace.run([
          "storage",
          "import",
          "--database",
          database.url,
          "--input",
          document,
        ]);
        expect(stderr).toContain("[E_DISK_FULL]");
        expect(status).toBe(1);
        // A session may need room to begin.
        rmSync(join(small.folder, "ballast"));
        expect(await postgresDigest(database.url)).toBe(before);
      } finally {
        await withClient(postgresAdminUrl(), (client) => client.query("DROP TABLESPACE small"));
      }
    });

    it.runIf(canMount && !isOrdinary)(
      "ends a load whose server has no room for its WAL, which can go on when it has",
      async () => {
        using wal = await startWithSmallWal(100);
        const targets = await createTargets(wal.cluster.url, workspace);
        const before = dumpOf(targets.template);
        for (const jobs of ["1", "3"]) {
          const target = await targets.next();
          const load = ["storage", "import", "--database", target, "--input", document, "--jobs", jobs];
          await wal.fill(1500);
          const { status, stderr } = await workspace.run(load, { env: SMALL_PARTS });
          // The server tells one session why it ends, if that; the others lose theirs.
          expect(stderr).toMatch(/\[E_(DISK_FULL|CONNECTION_LOST)\]/);
          expect(stderr).toMatch(/Hint: .*pg_wal/);
          expect([1, 3]).toContain(status);
          wal.restart();
          if (jobs === "1") expect(dumpOf(target)).toBe(before);
          else {
            expect(stderr).toMatch(/Hint: .*storage resume/);
            expect(await unfinishedState(target)).toBe("loading");
            await workspace.must(["storage", "resume", "--database", target, "--input", document], {
              env: SMALL_PARTS,
            });
            const { stdout } = await workspace.must(["storage", "verify", workspace.path("source.db"), target]);
            expect(stdout).toContain("Equal by meaning");
          }
        }
      },
    );
  });
});

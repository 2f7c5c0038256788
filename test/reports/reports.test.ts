/** --report: the JSON against its published schema, the page in a browser, whatever the data are called. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import Database from "better-sqlite3";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { reportPage } from "../../src/reports/page.js";
import { comparisonReport, type Report } from "../../src/reports/report.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { findTool } from "../helpers/system-packages.js";
import { describeWithTools } from "../helpers/system-tools.js";
import { makeSections, writeDocument } from "../verify/records.js";

const file = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const isReport = new Ajv2020({ allErrors: true }).compile(
  JSON.parse(readFileSync(file("docs/report.schema.json"), "utf8")),
);

let workspace: Workspace;
const source = file("test/golden/document-1.0.json");

beforeAll(async () => {
  workspace = createWorkspace();
  await workspace.must(["storage", "import", "--database", "first.db", "--input", source]);
});
afterAll(() => workspace[Symbol.dispose]());

function reportAt(name: string): Report {
  const report = JSON.parse(readFileSync(workspace.path(name), "utf8"));
  isReport(report);
  expect(isReport.errors ?? []).toEqual([]);
  return report;
}

describe("a report as JSON", () => {
  it("of an export says what the result says", async () => {
    const words = ["storage", "export", "--database", "first.db", "--output", "out.json", "--tenant", "acme"];
    const { stdout } = await workspace.must([...words, "--report", "export.json", "--json", "--limit", "5"]);
    const result = JSON.parse(stdout);
    const report = reportAt("export.json");
    expect(report).toMatchObject({
      command: "export",
      status: "done",
      from: { name: `sqlite:${workspace.path("first.db")}`, backend: "sqlite", versions: result.versions.source },
      to: { name: workspace.path("out.json") },
      started: result.started,
      ended: result.ended,
      seconds: result.seconds,
      settings: { Tenants: "acme", Limit: "5 records of each section" },
      totals: { read: result.read, new: result.inserted, valueBytes: result.valueBytes },
      documentBytes: result.bytes,
      warnings: result.warnings,
    });
    expect(report.sections.map(({ path }) => path)).toEqual(Object.keys(result.sections));
    expect(report.phases.map(({ name }) => name)).toEqual(expect.arrayContaining(["opening"]));
    expect(Math.max(...report.memory.map(({ bytes }) => bytes))).toBeGreaterThan(10_000_000);
    expect(statSync(workspace.path("export.json")).mode & 0o777).toBe(0o600);
  });

  it("tells new records from changed and unchanged ones", async () => {
    await workspace.must(["storage", "export", "--database", "first.db", "--output", "all.json"]);
    const again = ["storage", "import", "--input", "all.json", "--database", "second.db", "--report", "again.json"];
    await workspace.must(again);
    const { totals } = reportAt("again.json");
    expect(totals).toMatchObject({ new: totals?.read, changed: 0, unchanged: 0 });
    await workspace.must(again);
    expect(reportAt("again.json").totals).toMatchObject({ new: 0, changed: 0, unchanged: totals?.read });
    const database = new Database(workspace.path("second.db"));
    const kv = database
      .prepare("UPDATE kv_store SET value = x'00ff8877' WHERE rowid = (SELECT max(rowid) FROM kv_store)")
      .run();
    const vectors = database.prepare("UPDATE vec_embeddings_384 SET embedding = zeroblob(1536)").run();
    database.close();
    expect([kv.changes, vectors.changes]).toEqual([1, 1]);
    await workspace.must(again);
    const changed = reportAt("again.json").sections.filter((section) => section.changed > 0);
    expect(changed.map(({ path, changed: count }) => [path, count])).toEqual([
      ["vector_embeddings.384", 1],
      ["kv_store", 1],
    ]);
    const { stdout } = await workspace.must(again.slice(0, 6));
    expect(stdout).toContain(`\nUnchanged: ${totals?.read}\nFrom: `);
  });

  it("of a run that failed says why, and one of rejected records which was the first", async () => {
    const document = JSON.parse(readFileSync(source, "utf8"));
    document.data.sessions.push({ ...document.data.sessions[0], session_id: "other", status: "odd" });
    document.manifest = undefined;
    writeFileSync(workspace.path("odd.json"), JSON.stringify(document));
    const words = ["storage", "import", "--input", "odd.json", "--database", "third.db", "--include", "sessions"];
    words.push("--report", "odd-report.json");
    expect((await workspace.run(words)).status).toBe(5);
    expect(reportAt("odd-report.json")).toMatchObject({
      status: "failed",
      sections: [],
      error: { code: "E_CHECK", exitStatus: 5, section: "sessions", field: "status" },
    });
    expect(existsSync(workspace.path("third.db"))).toBe(false);
    expect((await workspace.run([...words, "--on-error", "skip"])).status).toBe(6);
    const { status, totals, error } = reportAt("odd-report.json");
    expect([status, totals?.rejected, error?.code]).toEqual(["rejected", 1, "E_REJECTED"]);
  });

  it("of a dry run is one", async () => {
    const words = ["storage", "migrate", "--from", "first.db", "--to", "dry.db", "--dry-run", "--report", "dry.json"];
    await workspace.must(words);
    expect(reportAt("dry.json")).toMatchObject({ command: "migrate", status: "dry run" });
  });

  it("of verify says what is equal and what differs, also where the command ends with 7", async () => {
    await workspace.must(["storage", "export", "--database", "first.db", "--output", "a.json"]);
    await workspace.must(["storage", "verify", "a.json", "first.db", "--report", "equal.json"]);
    expect(reportAt("equal.json")).toMatchObject({ command: "verify", status: "done", to: { backend: "sqlite" } });
    await workspace.must(["storage", "import", "--database", "less.db", "--input", "a.json", "--exclude", "event_log"]);
    const { status } = await workspace.run(["storage", "verify", "a.json", "less.db", "--report", "less.json"]);
    expect(status).toBe(7);
    const { comparison, error, ...report } = reportAt("less.json");
    expect(report).toMatchObject({ status: "different", from: { name: workspace.path("a.json") } });
    expect(error?.code).toBe("E_DIFFERENT");
    expect(comparison?.sections.find(({ path }) => path === "event_log")).toMatchObject({ identical: 0, onlyInB: 0 });
    expect(comparison?.differences).toContainEqual(
      expect.objectContaining({
        section: "event_log",
        difference: "onlyInA",
        key: expect.stringContaining("event_id="),
      }),
    );
    expect(comparison?.differences.length).toBeLessThanOrEqual(10);
    const cut = await workspace.run(["storage", "verify", "a.json", "nowhere.db", "--report", "failed.html"]);
    expect(cut.status).toBe(3);
    expect(readFileSync(workspace.path("failed.html"), "utf8")).toContain("E_STORE_NOT_FOUND");
  });

  it("of verify has fields that differ, the sample, searches, and how fast it was, but no value", async () => {
    copyFileSync(workspace.path("first.db"), workspace.path("odd.db"));
    const database = new Database(workspace.path("odd.db"));
    const { changes } = database.prepare(`UPDATE hook_history SET hook_id = 'secret value' WHERE rowid = 1`).run();
    database.close();
    expect(changes).toBe(1);
    const words = ["storage", "verify", "first.db", "odd.db", "--show-values", "--seed", "fixed"];
    const some = ["--sample", "1000", "--search", "2"];
    const { status, stdout } = await workspace.run([...words, ...some, "--report", "odd-values.json", "--json"]);
    expect(status).toBe(7);
    expect(JSON.parse(stdout)).toMatchObject({
      versions: { tool: { "Node.js": process.versions.node }, a: { SQLite: expect.any(String) } },
      started: expect.stringMatching(/Z$/),
      ended: expect.stringMatching(/Z$/),
    });
    const { comparison, recordsPerSecond } = reportAt("odd-values.json");
    expect(recordsPerSecond).toBeGreaterThan(0);
    expect(comparison).toMatchObject({
      differences: [{ section: "hook_history", difference: "different", fields: ["hook_id"] }],
      sample: { size: 1000, seed: "fixed" },
      searches: { neighbours: 10, seed: "fixed" },
    });
    expect(readFileSync(workspace.path("odd-values.json"), "utf8")).not.toContain("secret value");
    await workspace.run([...words, ...some, "--report", "odd-values.html"]);
    const page = readFileSync(workspace.path("odd-values.html"), "utf8");
    expect(page).toMatch(/hook_history, execution_id=[^<]*: different \(hook_id\)/);
    expect(page).toContain("A sample: 1,000 records of each section, seed fixed.");
    expect(page).toContain("the same in both");
    expect(page).not.toContain("secret value");
  });

  it("and differences are two files, and neither is emptied before the other is known to be good", async () => {
    const words = ["storage", "verify", "first.db", "odd.db", "--differences", "kept.ndjson"];
    await workspace.run(words);
    const kept = readFileSync(workspace.path("kept.ndjson"), "utf8");
    expect(kept).toContain("hook_id");
    expect((await workspace.run([...words, "--report", "nowhere/x.html"])).status).toBe(2);
    expect(readFileSync(workspace.path("kept.ndjson"), "utf8")).toBe(kept);
    const one = ["storage", "verify", "first.db", "odd.db", "--differences", "one.json", "--report", "one.json"];
    const { status, stderr } = await workspace.run(one);
    expect([status, stderr]).toEqual([
      2,
      expect.stringContaining("--report names a file that the run reads or writes"),
    ]);
  });

  it("of a load says what it was asked for, and what it removed", async () => {
    await workspace.must(["storage", "migrate", "--from", "first.db", "--to", "pruned.db"]);
    const database = new Database(workspace.path("pruned.db"));
    const columns = database.prepare("SELECT name FROM pragma_table_info('kv_store')").pluck().all() as string[];
    const values = columns.map((name) => (name === "kv_id" || name === "key" ? "'more'" : name));
    database.exec(`INSERT INTO kv_store (${columns.join()}) SELECT ${values.join()} FROM kv_store LIMIT 1`);
    database.close();
    const words = ["storage", "migrate", "--from", "first.db", "--to", "pruned.db", "--prune", "--on-conflict", "skip"];
    await workspace.must([...words, "--report", "pruned.json"]);
    await workspace.must([...words, "--report", "pruned.html"]);
    const { totals, settings } = reportAt("pruned.json");
    expect(totals).toMatchObject({ pruned: 1 });
    expect(settings).toMatchObject({ "Records that are there": "skip", "What the source does not have": "removed" });
    expect(readFileSync(workspace.path("pruned.html"), "utf8")).toContain("<th>Pruned</th>");
    expect(readFileSync(workspace.path("export.json"), "utf8")).not.toContain("pruned");
  });

  it("of a verification is valid, too", () => {
    expect(isReport(JSON.parse(JSON.stringify(compared())))).toBe(true);
  });
});

/** As of a command that compares. */
function compared(): Report {
  const header = { backend: "sqlite", migrations: ["V1"] } as const;
  const section = { path: "sessions", identical: 1, byMeaning: 2, different: 3, onlyInA: 4, onlyInB: 5 };
  const key = `key=${HOSTILE.join()}`;
  return comparisonReport(
    { command: "verify", from: "a", to: "b", started: new Date(0), settings: {}, warnings: [], phases: [], memory: [] },
    {
      a: "a.db",
      b: "b.db",
      headers: { a: header, b: header },
      sections: [
        {
          ...section,
          unreadableInA: 0,
          unreadableInB: 0,
          notHeld: HOSTILE,
          first: HOSTILE.map((field) => ({ section: "sessions", key, difference: "different", fields: [field] })),
        },
      ],
      findings: [{ store: "b", message: HOSTILE.join(), counts: false }],
      sample: { size: 3, seed: HOSTILE[0] as string },
      searches: {
        neighbours: 10,
        seed: HOSTILE[1] as string,
        results: [{ path: HOSTILE[2] as string, queries: 5, same: 4, recall: { a: 1, b: undefined } }],
      },
      leftOut: { a: [], b: ["a table"] },
      notes: HOSTILE,
      seconds: 2,
    },
    { code: "E_DIFFERENT", exitStatus: 7, message: "the stores differ", causes: [] },
  );
}

describe("the file of a report", () => {
  const exporting = ["storage", "export", "--database", "first.db", "--output", "kept.json"];

  it.each([
    ["nowhere/report.html", 2, "the folder of the report"],
    ["report.txt", 2, "ends in .html or .json"],
    ["folder.html", 2, "exists and is no report"],
    ["notes.html", 2, "exists and is no report"],
    ["kept.json", 2, "a file that the run reads or writes"],
    ["first.db/report.json", 2, "does not exist"],
  ])("%s is refused before the run begins", async (name, expected, message) => {
    mkdirSync(workspace.path("folder.html"), { recursive: true });
    writeFileSync(workspace.path("notes.html"), "<p>mine</p>");
    const before = readdirSync(workspace.folder);
    const { status, stderr } = await workspace.run([...exporting, "--report", name]);
    expect(status).toBe(expected);
    expect(stderr).toContain(message);
    expect(readdirSync(workspace.folder)).toEqual(before);
    expect(readFileSync(workspace.path("notes.html"), "utf8")).toBe("<p>mine</p>");
  });

  it("replaces an older report", async () => {
    for (const name of ["both.html", "both.json"]) {
      await workspace.must([...exporting, "--report", name]);
      await workspace.must([...exporting, "--report", name]);
    }
    expect(readdirSync(workspace.folder).filter((name) => name.includes(".tmp"))).toEqual([]);
  });
});

describePostgres("a report of PostgreSQL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase("migrated");
  });
  afterAll(() => database.drop());

  it("names versions and schemas, what is unchanged, and no password", async () => {
    const url = database.url.replace("@", ":pass%3Cword@");
    // Not all of the others' values can be in PostgreSQL.
    const sections = ["--include", "vector_embeddings.384", "--include", "sessions", "--include", "event_log"];
    const words = ["storage", "migrate", "--from", "first.db", "--to", url, "--invalid-uuid", "derive", ...sections];
    await workspace.must([...words, "--report", "pg.json"]);
    await workspace.must([...words, "--report", "pg.json"]);
    const { to, totals } = reportAt("pg.json");
    expect(to.versions?.["PostgreSQL"]).toMatch(/^\d+(\.\d+)*$/);
    expect(to.versions?.["pgvector"]).toMatch(/^\d+\.\d+/);
    expect(to.migrations).toContain("V13");
    expect(totals).toMatchObject({ new: 0, changed: 0, unchanged: totals?.read });
    expect(readFileSync(workspace.path("pg.json"), "utf8")).not.toContain("pass%3Cword");
  });

  it("does not say of a run that ended early that nothing was written", async () => {
    writeDocument(
      workspace.path("orphans.json"),
      new Map([...makeSections(() => 2)].filter(([path]) => path !== "sessions")),
    );
    const words = ["storage", "import", "--database", database.url, "--input", "orphans.json", "--jobs", "2"];
    words.push("--report");
    expect(await workspace.run([...words, "early.json"])).toMatchObject({ status: 5 });
    const { status, error, settings, phases } = reportAt("early.json");
    expect(phases.map(({ name }) => name)).not.toContain("");
    expect([status, error?.code, settings["Jobs"]]).toEqual(["failed", "E_ORPHAN", "2"]);
    expect(error?.unfinishedRun).toBeGreaterThan(0);
    await workspace.must(["storage", "undo", "--database", database.url]);
    expect((await workspace.run([...words, "early.html"])).status).toBe(5);
    const page = readFileSync(workspace.path("early.html"), "utf8");
    expect(page).not.toContain("Nothing was written");
    expect(page).toContain("has loaded stays in the target until it is resumed or undone.");
    await workspace.must(["storage", "undo", "--database", database.url]);
  });
});

const HOSTILE = [
  "<script>document.title='owned'</script>",
  "</title></style><script>alert(1)</script>",
  '"><img src=x onerror="document.title=1">',
  "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
  "\u202egnp.exe\u202c\u2066\u200f",
  "a\u0000b\u001b[31m\u2028c\ud800",
  "x".repeat(10_000),
  "𝔘".repeat(5_000),
  "{{7*7}}&lt;b&gt;",
];

/** A run of such data: every text of a report that may come from outside. */
function hostileReport(): Report {
  const [text] = HOSTILE;
  const counts = { read: 1e9, new: 1e9, changed: 1, unchanged: 2, skipped: 3, dropped: 4, cascaded: 5, rejected: 6 };
  return {
    report: "llmspell-storage",
    version: 1,
    command: "import",
    status: "rejected",
    host: text as string,
    tool: { "llmspell-storage": "0.1.0" },
    from: { name: HOSTILE.join("/"), backend: "sqlite", migrations: HOSTILE },
    to: { name: HOSTILE[6] as string, versions: { PostgreSQL: text as string } },
    started: "2026-01-02T03:04:05.000Z",
    ended: "2026-01-02T05:04:05.000Z",
    seconds: 7200,
    recordsPerSecond: 1e6,
    bytesPerSecond: 1e9,
    settings: Object.fromEntries(HOSTILE.map((name) => [name, name])),
    totals: { ...counts, valueBytes: 1e13 },
    sections: HOSTILE.map((path, at) => ({ path, label: path, ...counts, valueBytes: 10 ** at, digest: path })),
    documentBytes: 1e12,
    notes: HOSTILE,
    leftOut: HOSTILE,
    warnings: Array.from({ length: 1000 }, (_, at) => HOSTILE[at % HOSTILE.length] as string),
    error: {
      code: "E_REJECTED",
      exitStatus: 6,
      message: HOSTILE[0] as string,
      section: HOSTILE[1] as string,
      key: HOSTILE[6] as string,
      field: HOSTILE[4] as string,
      causes: HOSTILE,
      hint: HOSTILE[2] as string,
    },
    phases: HOSTILE.map((name, at) => ({ name, seconds: at })),
    memory: [
      { seconds: 0, bytes: 1 },
      { seconds: 7200, bytes: 2 },
    ],
  };
}

describeWithTools(["chromium"], "the page of a report", () => {
  let browser: Browser;
  beforeAll(async () => {
    const executablePath = findTool("chromium") as string;
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    await workspace.must([
      "storage",
      "export",
      "--database",
      "first.db",
      "--output",
      "p.json",
      "--report",
      "plain.html",
    ]);
    await workspace.run(["storage", "import", "--database", "p.db", "--input", "none.json", "--report", "failed.html"]);
    writeFileSync(workspace.path("hostile.html"), reportPage(hostileReport()));
    writeFileSync(workspace.path("compared.html"), reportPage(compared()));
  });
  afterAll(() => browser?.close());

  /** Opens the page, and gives what it said, asked for and did. */
  async function open(name: string, look: Parameters<Browser["newPage"]>[0]): Promise<[Page, string[]]> {
    const page = await browser.newPage(look);
    const url = pathToFileURL(workspace.path(name)).href;
    const seen: string[] = [];
    page.on("console", (message) => seen.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => seen.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => {
      seen.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request) => request.url() === url || seen.push(`request: ${request.url()}`));
    await page.goto(url);
    return [page, seen];
  }

  describe.each(["plain.html", "failed.html", "hostile.html", "compared.html"])("%s", (name) => {
    it.each([
      [1280, 900, "light"],
      [1280, 900, "dark"],
      [970, 700, "light"],
      [390, 844, "light"],
      [320, 640, "dark"],
    ] as const)("at %i x %i, %s", async (width, height, colorScheme) => {
      const [page, seen] = await open(name, { viewport: { width, height }, colorScheme });
      const found = await page.evaluate(() => {
        const { document, getComputedStyle } = globalThis as unknown as Dom;
        const root = document.documentElement;
        return {
          overflow: root.scrollWidth - root.clientWidth,
          active: document.querySelectorAll("script, img, link, iframe, object, form, a").length,
          title: document.title,
          ground: getComputedStyle(document.body).backgroundColor,
        };
      });
      expect(found).toMatchObject({ overflow: 0, active: 0, title: expect.stringMatching(/^\w+ report, \d{4}-/) });
      const [red = 0] = found.ground.match(/\d+/g)?.map(Number) ?? [];
      expect(red > 128).toBe(colorScheme === "light");
      expect((await page.screenshot({ fullPage: true })).subarray(1, 4).toString()).toBe("PNG");
      expect(seen).toEqual([]);
      await page.close();
    });

    it("prints", async () => {
      const [page, seen] = await open(name, { colorScheme: "dark" });
      expect((await page.pdf({ format: "A4" })).subarray(0, 5).toString()).toBe("%PDF-");
      await page.emulateMedia({ media: "print" });
      const ground = await page.evaluate(() => {
        const { document, getComputedStyle } = globalThis as unknown as Dom;
        return getComputedStyle(document.body).backgroundColor;
      });
      expect(ground).toBe("rgb(255, 255, 255)");
      expect(seen).toEqual([]);
      await page.close();
    });
  });

  it("shows names as they are, what would hide or reorder text by its code, and cuts what is too long", async () => {
    const [page] = await open("hostile.html", {});
    const text = await page.innerText("body");
    expect(text).toContain("<script>document.title='owned'</script>");
    expect(text).toContain("\\u{202e}gnp.exe");
    expect(text).toContain("(10000 characters)");
    expect(text).toContain("and 900 more");
    expect(text).not.toMatch(/[\u202a-\u202e\u2066-\u2069]/);
    expect(readFileSync(workspace.path("hostile.html")).length).toBeLessThan(500_000);
    await page.close();
  });

  it("says the same as the JSON", async () => {
    await workspace.must([
      "storage",
      "export",
      "--database",
      "first.db",
      "--output",
      "p.json",
      "--report",
      "plain.json",
    ]);
    const [page] = await open("plain.html", { viewport: { width: 1280, height: 900 } });
    const rows = await page.locator(".counts tbody tr").allInnerTexts();
    const sections = reportAt("plain.json").sections.map(({ path, read }) => [path, String(read)]);
    expect(rows.map((row) => row.split(/\s+/).slice(0, 2))).toEqual(sections);
    await page.close();
  });
});

/** What the test's functions use in the browser. */
interface Dom {
  readonly document: {
    readonly documentElement: { readonly scrollWidth: number; readonly clientWidth: number };
    readonly body: object;
    readonly title: string;
    querySelectorAll(selectors: string): { readonly length: number };
  };
  getComputedStyle(element: object): { readonly backgroundColor: string };
}

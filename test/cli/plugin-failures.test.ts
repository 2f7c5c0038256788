/** What becomes of plugins that cannot be loaded, fail, give nonsense, or never come to an end. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { PluginRecord } from "../../src/index.js";
import { createWorkspace, type Outcome, outcomeOf } from "../helpers/llmspell.js";
import {
  dataOf,
  document,
  errorOf,
  exportThrough,
  fresh,
  KINDS,
  read,
  runPlugin,
  source,
  usePluginFixture,
  workspace,
} from "./plugin-fixture.js";

usePluginFixture();

describe("a plugin's mistakes", () => {
  const first = (): string => `kv_id=${dataOf(document)["kv_store"][0].kv_id}`;

  it.each([
    ["nothing", () => undefined, "returned nothing"],
    ["a string", () => "x", "returned a string"],
    ["an array with a hole", (record: PluginRecord) => [record, null], "returned null"],
    ["a strange field", (record: PluginRecord) => ({ ...record, colour: 1 }), "no field colour"],
    ["a field of another type", (record: PluginRecord) => ({ ...record, key: 5 }), "expected a string, found a number"],
    ["no time", (record: PluginRecord) => ({ ...record, created_at: new Date() }), "integer of microseconds"],
    ["a fraction", (record: PluginRecord) => ({ ...record, created_at: 1.5 }), "fraction"],
    ["bytes that are none", (record: PluginRecord) => ({ ...record, value: "AP/+" }), "expected a Buffer"],
    ["a number for an id", (record: PluginRecord) => ({ ...record, kv_id: 5 }), "expected a string"],
    ["a record without a field", ({ key: _key, ...rest }: PluginRecord) => rest, "lacks a field"],
    ["null where none may be", (record: PluginRecord) => ({ ...record, tenant_id: null }), "lacks a field"],
    ["json that is none", (record: PluginRecord) => ({ ...record, metadata: Number.NaN }), "NaN"],
    [
      "a cycle",
      (record: PluginRecord) => {
        const cycle: PluginRecord = {};
        cycle["me"] = cycle;
        return { ...record, metadata: cycle };
      },
      "Maximum call stack",
    ],
    [
      "an error",
      () => {
        throw new Error("no idea");
      },
      "no idea",
    ],
    ["a rejection", () => Promise.reject(new Error("no network")), "no network"],
  ] as const)("%s: names the plugin and the record", async (_what, transform, text) => {
    const error = await errorOf(exportThrough({ name: "wrong", ...KINDS, transform: transform as never }));
    expect(error.code).toBe("E_PLUGIN");
    expect(error.message).toContain("plugin wrong");
    expect(error.message).toContain(text);
    expect(error.context).toMatchObject({ section: "kv_store", key: first() });
  });

  it("stop the run, or leave out the record", async () => {
    const module = `export default { name: "picky", sections: ["kv_store"], transform(record) {
      if (record.kv_id === "${dataOf(document)["kv_store"][3].kv_id}") throw new Error("not this one");
      return { ...record, key: "k" + record.kv_id };
    } };`;
    const stopped = await runPlugin(module);
    expect([stopped.status, stopped.stderr]).toEqual([
      5,
      expect.stringContaining("plugin picky failed: not this one [E_PLUGIN]"),
    ]);
    const rejects = fresh(".ndjson");
    const { status, output } = await runPlugin(module, "--on-error", "skip", "--rejects", rejects);
    expect(status).toBe(6);
    expect(
      read(rejects)
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([
      {
        section: "kv_store",
        key: `kv_id=${dataOf(document)["kv_store"][3].kv_id}`,
        code: "E_PLUGIN",
        reason: "the plugin picky failed: not this one",
        // As it came in.
        record: dataOf(document)["kv_store"][3],
      },
    ]);
    expect(dataOf(output)["kv_store"]).toHaveLength(11);
  });

  it("a batch that fails is left out as a whole", async () => {
    const rejected: string[] = [];
    const output = await exportThrough(
      {
        name: "batches",
        ...KINDS,
        batch: true,
        transform: () => {
          throw new Error("all of them");
        },
      },
      { onReject: ({ error }) => void rejected.push(error.context.key as string) },
    );
    expect(rejected).toHaveLength(12);
    expect(rejected).toContain(first());
    expect(dataOf(output)["kv_store"]).toBeUndefined();
  });

  it("ends a promise that is never kept", async () => {
    const module = `export default { name: "forgetful", sections: ["sessions"], transform: () => new Promise(() => {}) };`;
    const { status, stderr } = await runPlugin(module, "--plugin-timeout", "0.2");
    expect([status, stderr]).toEqual([
      5,
      expect.stringContaining("plugin forgetful did not come to an end within 0.2 seconds [E_PLUGIN_TIMEOUT]"),
    ]);
    expect(stderr).toContain(`session_id=${dataOf(document)["sessions"][0].session_id}`);
  });

  it.each([
    ["for a record", "transform(r) { if (r.key === KEY) for (;;); return r; }"],
    ["for a batch", "batch: true, transform(rs) { for (;;); }"],
    ["at the begin of a promise", "async transform() { for (;;); }"],
    ["in setup", "setup() { for (;;); }, transform: (r) => r"],
    [
      "in a regular expression",
      "transform(r) { if (r.key === KEY) /^(a|aa)+$/.test('a'.repeat(60) + 'b'); return r; }",
    ],
  ])("ends a loop that never ends %s", async (_where, transform) => {
    const key = JSON.stringify(dataOf(document)["kv_store"][3].key);
    const { status, stderr } = await runPlugin(
      `export default { name: "busy", sections: ["kv_store"], ${transform.replace("KEY", key)} };`,
      "--plugin-timeout",
      "0.3",
    );
    expect([status, stderr]).toEqual([
      5,
      expect.stringContaining("plugin busy did not come to an end within 0.3 seconds [E_PLUGIN_TIMEOUT]"),
    ]);
    if (transform.includes("KEY")) expect(stderr).toContain(dataOf(document)["kv_store"][3].kv_id);
  });

  it("leaves out the records at which it loops, and ends as itself", async () => {
    const key = JSON.stringify(dataOf(document)["kv_store"][3].key);
    const { status, output } = await runPlugin(
      `const same = {}; export default { name: "busy", sections: ["kv_store"],
        transform(r) { if (r.key === ${key}) for (;;); return Object.assign(same, r); } };`,
      ...["--plugin-timeout", "0.3", "--on-error", "skip"],
    );
    expect(status).toBe(6);
    const kept = dataOf(document)["kv_store"].filter((_: unknown, at: number) => at !== 3);
    expect(dataOf(output)["kv_store"]).toEqual(kept);
  });

  it("is interrupted by Ctrl-C in a loop", async () => {
    const path = fresh(".mjs");
    const busy = fresh(".busy");
    writeFileSync(
      path,
      `import { writeFileSync } from "node:fs";
       export default { name: "busy", sections: ["kv_store"], transform() { writeFileSync(${JSON.stringify(busy)}, ""); for (;;); } };`,
    );
    const words = ["storage", "export", "--database", source, "--output", fresh(".json"), "--plugin", path];
    const child = workspace.start([...words, "--plugin-timeout", "600"]);
    const ended = outcomeOf(child);
    while (!existsSync(busy) && child.exitCode === null) await setTimeout(20);
    child.kill("SIGINT");
    expect((await ended).status).toBe(130);
  });

  it("lets itself be interrupted while a plugin waits", async () => {
    const controller = new AbortController();
    const run = exportThrough(
      {
        name: "slow",
        ...KINDS,
        transform() {
          controller.abort();
          return new Promise(() => {});
        },
      },
      { signal: controller.signal },
    );
    expect((await errorOf(run)).code).toBe("E_INTERRUPTED");
  });

  it("may not drop what it says it never drops", async () => {
    const error = await errorOf(exportThrough({ name: "keeper", ...KINDS, drops: false, transform: () => null }));
    expect([error.code, error.message]).toEqual([
      "E_PLUGIN",
      expect.stringContaining("plugin keeper failed: it dropped"),
    ]);
    expect(error.context.key).toBe(first());
  });

  it("in setup and flush are told", async () => {
    const fail = (): never => {
      throw new Error("cannot begin");
    };
    const transform = (record: PluginRecord): PluginRecord => record;
    const setup = await errorOf(exportThrough({ name: "begin", setup: fail, transform }));
    expect([setup.code, setup.message]).toEqual(["E_PLUGIN", "the plugin begin: setup failed: cannot begin"]);
    const flush = await errorOf(exportThrough({ name: "end", flush: () => ({}), transform }));
    expect([flush.code, flush.message]).toEqual(["E_PLUGIN", expect.stringContaining("context.into")]);
  });
});

describe("a plugin that turns on the process", () => {
  it.each([
    ["called process.exit(0)", "process.exit(0)"],
    ["called process.exit(0)", "try { process.exit(0); } catch {} return r;"],
    ["called process.exit(3)", "await null; process.exit(3)"],
    ["called process.abort()", "process.abort()"],
    ["set process.exitCode", "process.exitCode = 0; return r;"],
    ["called process.exit(0)", "setImmediate(() => process.exit(0)); await new Promise(() => {});"],
    [
      "left an error behind: floating",
      "Promise.reject(new Error('floating')); await new Promise((done) => setTimeout(done, 50)); return r;",
    ],
    [
      "left an error behind: thrown",
      "setImmediate(() => { throw new Error('thrown'); }); await new Promise(() => {});",
    ],
  ])("%s: is named, and ends the run: %s", async (message, body) => {
    const { status, stderr, output } = await runPlugin(
      `export default { name: "rude", sections: ["kv_store"], ${body.includes("await") ? "async " : ""}transform(r) { ${body} } };`,
      "--on-error",
      "skip",
    );
    expect([status, stderr]).toEqual([5, expect.stringContaining(`Error: the plugin rude ${message} [E_PLUGIN]`)]);
    expect(existsSync(output)).toBe(false);
    expect(readdirSync(workspace.folder).filter((name) => name.includes(".tmp"))).toEqual([]);
  });

  it.each([
    ["setup", "setup() { process.exit(0); }"],
    ["flush", "flush() { process.exit(0); }"],
  ])("in %s", async (_where, method) => {
    const { status, stderr } = await runPlugin(`export default { name: "rude", transform: (r) => r, ${method} };`);
    expect([status, stderr]).toEqual([5, expect.stringContaining("the plugin rude called process.exit(0) [E_PLUGIN]")]);
  });

  it("while it is loaded", async () => {
    const { status, stderr } = await runPlugin("process.exit(0);");
    expect([status, stderr]).toEqual([5, expect.stringContaining("called process.exit(0) [E_PLUGIN]")]);
  });

  it("in a program, which may itself end", async () => {
    const error = await errorOf(
      exportThrough({
        name: "rude",
        ...KINDS,
        transform: () => process.exit(0),
      }),
    );
    expect(error.message).toBe("the plugin rude called process.exit(0)");
    const program = workspace.path("ends.mjs");
    writeFileSync(
      program,
      `import { exportStore } from ${JSON.stringify(new URL("../../dist/index.js", import.meta.url).href)};
       let seen = 0;
       const transform = async (r) => { seen++; return r; };
       await exportStore({ from: ${JSON.stringify(source)}, to: ${JSON.stringify(fresh(".json"))},
         transforms: [{ type: "plugin", module: { name: "quiet", transform } }],
         onProgress() { if (seen > 0) process.exit(7); } });`,
    );
    expect(spawnSync(process.execPath, [program]).status).toBe(7);
  });

  it("prints to stderr, where stdout may be the document", async () => {
    const path = fresh(".mjs");
    writeFileSync(
      path,
      `console.log("<loading>"); export default { name: "chatty", sections: ["kv_store"],
        async transform(r) { console.log("<one>"); await null; process.stdout.write("<two>\\n"); return r; } };`,
    );
    const run = await workspace.must(["storage", "export", "--database", source, "--output", "-", "--plugin", path]);
    expect(Object.keys(JSON.parse(run.stdout))).toContain("data");
    for (const word of ["<loading>", "<one>", "<two>"]) expect(run.stderr).toContain(word);
  });

  it("prints lines of the log, where these are objects", async () => {
    const path = fresh(".mjs");
    writeFileSync(
      path,
      `console.error("<loading>\\u202e"); export default { name: "chatty", sections: ["kv_store"], parallel: true, transform(r) {
         process.stderr.write("<o"); process.stderr.write(Buffer.from("ne>\\n<two>")); return r; } };`,
    );
    for (const jobs of ["1", "2"]) {
      const words = ["storage", "export", "--database", source, "--output", "-", "--plugin", path, "--jobs", jobs];
      const run = await workspace.must([...words, "--log-format", "json"]);
      const lines = run.stderr.split("\n").slice(0, -1);
      const messages = lines.map((line) => JSON.parse(line).message as string);
      expect(messages).toContain("<loading>\u202e");
      expect(messages.some((message) => message.includes("<one>"))).toBe(true);
      expect(messages.join()).toContain("<two>");
    }
  });
});

describe("loading a plugin", () => {
  const load = (module: string): Promise<Outcome> =>
    workspace.run(["storage", "export", "--database", "missing.db", "--output", "x.json", "--plugin", module]);

  it.each([
    ["./missing.mjs", "", "Cannot find module"],
    ["no-such-package", "", "no-such-package"],
    ["./syntax.mjs", "export default {", "SyntaxError|Unexpected"],
    ["./throws.mjs", "throw new Error('on load');", "on load"],
    ["./none.mjs", "export const x = 1;", "no default export"],
    ["./nameless.mjs", "export default { transform() {} };", "name"],
    ["./idle.mjs", "export default { name: 'idle' };", "transform is no function"],
    ["./section.mjs", "export default { name: 'x', sections: ['nowhere'], transform() {} };", "nowhere"],
    ["./emits.mjs", "export default { name: 'x', emits: ['nowhere'], transform() {} };", "nowhere"],
    ['./plain.mjs:{"a":1}', "export default { name: 'x', transform() {} };", "takes no options"],
    [
      './strict.mjs:{"a":1}',
      "export default { name: 'x', options: { parse() { throw new Error('a is odd'); } }, transform() {} };",
      "a is odd",
    ],
  ])("%s is refused before anything is opened", async (module, text, reason) => {
    if (text !== "") writeFileSync(workspace.path(module.replace(/:\{.*/, "")), text);
    const { status, stderr } = await load(module);
    expect([status, stderr]).toEqual([2, expect.stringContaining("[E_PLUGIN_LOAD]")]);
    expect(stderr).toMatch(new RegExp(reason));
  });

  it("takes a bare name for Node's own modules and packages, and a path for a file, and says which it took", async () => {
    using own = createWorkspace();
    const plugin = (name: string): string => `export default { name: "${name}", transform: (r) => r };`;
    writeFileSync(own.path("events"), "throw new Error('the file');");
    writeFileSync(own.path("mine.mjs"), "throw new Error('my file');");
    mkdirSync(own.path("node_modules/events"), { recursive: true });
    writeFileSync(own.path("node_modules/events/package.json"), '{"name":"events","main":"index.mjs"}');
    writeFileSync(own.path("node_modules/events/index.mjs"), plugin("package"));
    const run = (module: string): Promise<Outcome> =>
      own.run(["storage", "export", "--database", source, "--output", "x.json", "--force", "--plugin", module]);
    const builtin = await run("events");
    expect([builtin.status, builtin.stderr]).toEqual([2, expect.stringContaining("a module of Node itself")]);
    expect(builtin.stderr).toContain("./events");
    expect((await run("node:fs")).stderr).toContain("a module of Node itself");
    const file = await run("./events");
    expect([file.status, file.stderr]).toEqual([2, expect.stringContaining(own.path("events"))]);
    expect((await run("events/")).status).toBe(0);
    const bare = await run("mine.mjs");
    expect([bare.status, bare.stderr]).toEqual([2, expect.stringContaining("The file there is ./mine.mjs.")]);
    expect((await run("./mine.mjs")).stderr).toContain(
      `the plugin ./mine.mjs (${own.path("mine.mjs")}) cannot be loaded`,
    );
  });

  it("says that options are no JSON", async () => {
    const { status, stderr } = await load("./x.mjs:{a:1}");
    expect([status, stderr]).toEqual([2, expect.stringContaining("not valid JSON [E_USAGE]")]);
  });

  it("finds packages of the user's project, of either kind, and paths of its config.toml", async () => {
    using own = createWorkspace();
    const tag = (name: string): string =>
      `export default { name: "${name}", sections: ["kv_store"], transform: (r) => ({ ...r, key: r.key + "${name}" }) };`;
    for (const [name, manifest] of [
      ["esm", { type: "module", exports: { ".": { types: "./x.d.ts", import: "./index.js" }, "./sub": "./sub.js" } }],
      ["@scope/main", { type: "module", main: "index.js" }],
    ] as const) {
      mkdirSync(own.path(`node_modules/${name}`), { recursive: true });
      writeFileSync(own.path(`node_modules/${name}/package.json`), JSON.stringify({ name, ...manifest }));
      writeFileSync(own.path(`node_modules/${name}/index.js`), tag(`<${name}>`));
      writeFileSync(own.path(`node_modules/${name}/sub.js`), tag(`<${name}/sub>`));
    }
    mkdirSync(own.path("settings"));
    writeFileSync(own.path("settings/mine.mjs"), tag("<mine>"));
    writeFileSync(
      own.path("settings/config.toml"),
      "[transforms]\non = ['export']\n[[transforms.steps]]\nplugin = './mine.mjs'\n",
    );
    const plugins = ["esm", "esm/sub", "@scope/main"].flatMap((name) => ["--plugin", name]);
    await own.must(["storage", "export", "--database", source, "--output", "x.json", ...plugins], {
      env: { LLMSPELL_CONFIG: own.path("settings/config.toml") },
    });
    for (const { key } of dataOf(own.path("x.json"))["kv_store"])
      expect(key).toMatch(/<mine><esm><esm\/sub><@scope\/main>$/);
  });
});

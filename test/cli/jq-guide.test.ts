/** The migration guide's jq lines, given to --jq, beside what jq itself makes of the exported file. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

/** As they stand in the guide, with its comments and line breaks; behind them the same with tenants that are there, and relatives. */
const LINES: readonly string[] = [
  `del(.data.sessions[] | select(.tenant_id == "sensitive-tenant"))`,
  `del(.data.sessions[] | select(.tenant_id == "sensitive"))`,
  `.data.sessions = .data.sessions[:5]`,
  `{
  version: .version,
  exported_at: .exported_at,
  source_backend: .source_backend,
  migrations: .migrations,
  data: {
    sessions: .data.sessions,
    artifacts: .data.artifacts
  }
}`,
  `
  # Update all tenant_ids
  .data.sessions[].tenant_id = "new-tenant" |
  # Remove old sessions
  .data.sessions = [.data.sessions[] | select(.created_at > 1640000000)] |
  # Update metadata
  .data.vector_embeddings."1536"[].metadata.migrated = true
`,
  `del(.data.sessions[] | select(.tenant_id == "TENANT"))`,
  `del(.data.sessions[] | select(.tenant_id == "TENANT" or .status == "active"))`,
  `.data.sessions[].tenant_id = "new-tenant" | del(.data.sessions[] | select(.status == "active"))`,
  `.data.sessions = [.data.sessions[] | select(.created_at > 1500000000000000)]`,
  `.data.sessions = [.data.sessions[] | select(.created_at | type == "number")] | .data.sessions = .data.sessions[1:4]`,
  `.data.sessions |= map(select(.status == "active"))`,
  `.data.sessions = (.data.sessions | map(.status = "expired") | .[2:6])`,
  `.data.sessions |= .[1:3]`,
  `.data.vector_embeddings[][].scope |= "moved:" + .`,
  `del(.data.event_log)`,
  `del(.data.event_log, .data.kv_store[].metadata)`,
  `del(.data.sessions[].session_data[]?, .manifest)`,
  `(.data.sessions[], .data.agent_state[]).tenant_id |= ascii_upcase`,
  `.data.artifacts.artifacts[].metadata.note = {"by": "jq", "n": [1, 2.5]} | .data.artifacts.artifacts[].tags = null`,
  `.data.knowledge_graph.entities[] |= (.name += "!" | .properties = {kept: (.properties | length)})`,
  `.data.workflow_states |= map(if .status == "running" then .current_step += 1 else . end)`,
  `del(.data.procedural_memory[] | select(.frequency > 3))`,
  `.data.kv_store[].key |= (explode | reverse | implode)`,
  `.`,
];

let workspace: Workspace;
let source: string;
let exported: string;
let tenant: string;
let sortedExport: string;

const sorted = (path: string): string =>
  execFileSync("jq", ["-S", ".data", path], { encoding: "utf8", maxBuffer: 2 ** 30 });

describeWithTools(["jq"], "the guide's jq lines", () => {
  beforeAll(async () => {
    workspace = createWorkspace();
    source = workspace.path("source.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 40, contentSizes: [0, 10, 1_500_000] });
    exported = workspace.path("exported.json");
    await workspace.must(["storage", "export", "--database", source, "--output", exported]);
    sortedExport = sorted(exported);
    tenant = execFileSync("jq", ["-r", ".data.sessions[0].tenant_id", exported], { encoding: "utf8" }).trimEnd();
  });
  afterAll(() => workspace[Symbol.dispose]());

  it("has every section in the data", () => {
    const sections = execFileSync("jq", ["-c", ".data | keys", exported], { encoding: "utf8" });
    expect(JSON.parse(sections)).toHaveLength(10);
  });

  describe.each(LINES.map((line, at) => ({ line, at })))("$line", ({ line, at }) => {
    it("gives what jq makes of the exported file", async () => {
      const expression = line.replace("TENANT", JSON.stringify(tenant).slice(1, -1));
      const ours = workspace.path(`ours-${at}.json`);
      const theirs = workspace.path(`theirs-${at}.json`);
      await workspace.must([
        "storage",
        "export",
        "--database",
        source,
        "--output",
        ours,
        "--jq",
        expression,
        "--no-cascade",
      ]);
      execFileSync("sh", ["-c", 'jq "$1" "$2" > "$3"', "sh", expression, exported, theirs]);
      const data = sorted(ours);
      expect(data === sorted(theirs)).toBe(true);
      // Or there was nothing to compare.
      expect(data === sortedExport).toBe(line === "." || line.includes("sensitive"));
    });
  });
});

import { describe, inject } from "vitest";
import "./global-setup.js";
import type { SystemTool } from "./system-packages.js";

/**
 * `describe` for tests that run system tools. Where one cannot be had they are skipped, loudly and by name; under CI=true
 * that fails, so that a green run there always means that they ran. Nest it with `describePostgres` where both are needed.
 */
export function describeWithTools(tools: readonly SystemTool[], name: string, define: () => void): void {
  const missing = inject("missingTools").filter((tool) => tools.includes(tool));
  if (missing.length === 0) {
    describe(name, define);
    return;
  }
  const reason = `not on the PATH, and not installed by the set-up: ${missing.join(", ")}`;
  if (process.env["CI"] === "true") throw new Error(`"${name}" needs programs that are ${reason}`);
  process.stderr.write(`\u001b[31mSKIPPED "${name}": ${reason}\u001b[0m\n`);
  describe.skip(name, define);
}

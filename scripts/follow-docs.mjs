// Runs the commands of documentation pages as they are written: each ```sh block in bash, those of all pages in one folder.
// Modules that a page shows with their name (a ```js block that begins with `// tidy.mjs`) are saved there, those of all pages first.
// Usage, in a machine or root that has the packed tool, node, jq, zstd and sqlite3, and nothing of the repository:
//   DATABASE_URL=postgresql://llmspell:password@localhost:5432/llmspell_prod node follow-docs.mjs FOLDER PAGE.md...
// Blocks for hosts and programs that such a place has not (other servers, docker, systemd, clouds, the repository) are named and skipped;
// FOLLOW_ELSEWHERE, a regular expression, says what they have in common where more is there.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ELSEWHERE = new RegExp(
  process.env["FOLLOW_ELSEWHERE"] ??
    /\bnpm (run|test|install)|docker|aws s3|systemctl|\bscp\b|\bssh\b|\bpsql\b|pg_dump|prod-db|staging-db|example\.com|journalctl|\/mnt\/|scripts\/test-servers|backup-loop/
      .source,
);
const [folder, ...pages] = process.argv.slice(2);
if (folder === undefined || pages.length === 0) {
  console.error("usage: follow-docs.mjs FOLDER PAGE.md...");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
for (const page of pages)
  for (const [, name, module] of readFileSync(page, "utf8").matchAll(/^```js\n\/\/ ([\w-]+\.mjs)\n(.*?)^```/gms))
    writeFileSync(join(folder, name), module);
const counts = { passed: 0, failed: 0, skipped: 0 };
for (const page of pages) {
  for (const [, block] of readFileSync(page, "utf8").matchAll(/^```sh\n(.*?)^```/gms)) {
    const [first] = block.trim().split("\n");
    if (ELSEWHERE.test(block)) {
      counts.skipped++;
      console.log(`skipped ${page}: ${first}`);
      continue;
    }
    const run = spawnSync("bash", ["-eo", "pipefail", "-c", block], {
      cwd: folder,
      encoding: "utf8",
      timeout: 300_000,
    });
    counts[run.status === 0 ? "passed" : "failed"]++;
    console.log(`${run.status === 0 ? "ok     " : "FAILED "} ${page}: ${first}`);
    if (run.status === 0) continue;
    const output = `${run.stdout}${run.stderr}`.trimEnd().split("\n").slice(-8);
    console.log(output.map((line) => `        ${line}`).join("\n"));
  }
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);

// RESULTS.md holds one section per bench, between two comments; a run replaces its own.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const path = fileURLToPath(new URL("../RESULTS.md", import.meta.url));

export function writeSection(name, text) {
  const begin = `<!-- ${name}: begin -->`;
  const end = `<!-- ${name}: end -->`;
  const section = `${begin}\n${text.trim()}\n${end}`;
  const old = existsSync(path) ? readFileSync(path, "utf8") : "# Results\n";
  const from = old.indexOf(begin);
  const to = old.indexOf(end);
  const next =
    from < 0 ? `${old.trimEnd()}\n\n${section}\n` : old.slice(0, from) + section + old.slice(to + end.length);
  writeFileSync(path, next);
}

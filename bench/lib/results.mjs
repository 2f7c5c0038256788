// RESULTS.md: a summary of all targets, and one section per case between two comments; a run replaces its own.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { TARGET_HEADINGS, table } from "./report.mjs";

const path = fileURLToPath(new URL("../RESULTS.md", import.meta.url));

function withSection(text, name, content) {
  const begin = `<!-- ${name}: begin -->`;
  const end = `<!-- ${name}: end -->`;
  const section = `${begin}\n${content.trim()}\n${end}`;
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0) return `${text.trimEnd()}\n\n${section}\n`;
  return text.slice(0, from) + section + text.slice(to + end.length);
}

/** Replaces the sections `{ name: text }` and makes the summary anew from the target tables of all sections. */
export function writeSections(sections) {
  let text = existsSync(path) ? readFileSync(path, "utf8") : "# Results\n";
  if (!text.includes("<!-- summary: begin -->"))
    text = withSection("# Results\n", "summary", "") + text.replace("# Results\n", "");
  for (const [name, content] of Object.entries(sections)) text = withSection(text, name, content);
  writeFileSync(path, withSection(text, "summary", summary(text)));
}

function summary(text) {
  const rows = [];
  for (const [, name, section] of text.matchAll(/<!-- ([\w-]+): begin -->\n(.*?)<!-- \1: end -->/gs)) {
    if (name === "summary") continue;
    const heading = `| ${TARGET_HEADINGS.join(" | ")} |\n`;
    const at = section.lastIndexOf(heading);
    if (at < 0) continue;
    const lines = section.slice(at).split("\n").slice(2);
    rows.push(...lines.filter((line) => line.startsWith("|")).map((line) => line.slice(2, -2).split(" | ")));
  }
  const misses = rows.filter((row) => row.at(-1).includes("miss")).length;
  const passes = rows.filter((row) => row.at(-1) === "pass").length;
  return `## Summary

Peer time / our time, medians of the trials in each section; CPU is user and system time of the client processes, by the same
rule. ${passes} targets are met, ${misses} are missed.

${table(TARGET_HEADINGS, rows)}`;
}

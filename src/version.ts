import { readFileSync } from "node:fs";

/** This package's version, from its package.json. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
).version;

/** What a document names as its producer. */
export const PRODUCER = `llmspell-storage/${VERSION}`;

/** What makes a result: this tool, and the Node.js that runs it. */
export const TOOL_VERSIONS: Readonly<Record<string, string>> = {
  "llmspell-storage": VERSION,
  "Node.js": process.versions.node,
};

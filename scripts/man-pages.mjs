// Writes man/: a manual page for the program and one for each command, from what the command line itself is made of.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const NAME = "llmspell-storage";
const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Text of a page: nothing in it is a request or an escape, and a hyphen can be copied. */
function roff(text) {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll(/^([.'])/gm, "\\&$1");
}

/** A macro's one argument. */
function quoted(text) {
  return `"${roff(text).replaceAll('"', "\\(dq")}"`;
}

/** `llmspell-storage-export`, `llmspell-storage-database-health` */
function pageName(words) {
  return [NAME, ...(words[0] === "storage" ? words.slice(1) : words)].join("-");
}

function synopsis(command, words) {
  const parts = [NAME, ...words].map((word) => `\\fB${roff(word)}\\fR`);
  if (command.commands.length > 0) return [...parts, "\\fICOMMAND\\fR", "[\\fIOPTION\\fR...]"].join(" ");
  const required = command.options.filter(({ mandatory }) => mandatory).map(flagsOf);
  const values = command.registeredArguments.map((argument) =>
    argument.required ? `\\fI${roff(argument.name())}\\fR` : `[\\fI${roff(argument.name())}\\fR]`,
  );
  return [...parts, ...required, "[\\fIOPTION\\fR...]", ...values].join(" ");
}

/** `-c, --config FILE` */
function flagsOf({ flags }) {
  const [, names, value] = /^([^<[]*?)\s*(?:[<[](.*)[>\]])?$/.exec(flags);
  const bold = names.split(", ").map((name) => `\\fB${roff(name)}\\fR`);
  return `${bold.join(", ")}${value === undefined ? "" : ` \\fI${roff(value)}\\fR`}`;
}

function optionLines(command) {
  const lines = [".SH OPTIONS"];
  let heading;
  for (const option of command.options) {
    const group = option.helpGroupHeading?.replace(/:$/, "") ?? "Options";
    if (group !== heading) lines.push(`.SS ${quoted(group)}`);
    heading = group;
    const choices = option.argChoices === undefined ? "" : ` (${option.argChoices.join(", ")})`;
    lines.push(".TP", flagsOf(option), roff(option.description + choices));
  }
  lines.push(".TP", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "show help");
  return lines;
}

/** Every command below, with its words. */
function below(command, words = []) {
  return command.commands.flatMap((each) => {
    const path = [...words, each.name()];
    return each.commands.length === 0 ? [[path, each]] : below(each, path);
  });
}

function page(command, words, { version, examplesOf, statuses, others }) {
  const name = pageName(words);
  const examples = examplesOf(command);
  const commands = below(command, words);
  return [
    `.TH ${quoted(name.toUpperCase())} 1 "" ${quoted(`${NAME} ${version}`)}`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(command.description().replace(/\.$/, ""))}`,
    ".SH SYNOPSIS",
    synopsis(command, words),
    ".SH DESCRIPTION",
    `${roff(
      command
        .description()
        .replace(/^./, (letter) => letter.toUpperCase())
        .replace(/\.?$/, "."),
    )}`,
    ...(commands.length === 0
      ? []
      : [
          ".SH COMMANDS",
          ...commands.flatMap(([path, each]) => [".TP", `\\fB${roff(path.join(" "))}\\fR`, roff(each.description())]),
        ]),
    ...optionLines(command),
    ...(examples.length === 0
      ? []
      : [".SH EXAMPLES", ".nf", ...examples.map((example) => `\\&${roff(example)}`), ".fi"]),
    ".SH EXIT STATUS",
    ...statuses.flatMap(([status, meaning]) => [".TP", `\\fB${status}\\fR`, roff(meaning)]),
    ".PP",
    `\\fB${roff(`${NAME} explain`)}\\fR \\fICODE\\fR says more of each error.`,
    ".SH SEE ALSO",
    others
      .filter((other) => other !== name)
      .map((other) => `\\fB${roff(other)}\\fR(1)`)
      .join(",\n"),
  ].join("\n");
}

const STATUSES = [
  ["0", "done"],
  ["1", "unexpected"],
  ["2", "usage or configuration"],
  ["3", "cannot connect, or no permission"],
  ["4", "the document, the source, or a record of it is not valid"],
  ["5", "the data does not fit the target; nothing was written"],
  ["6", "finished, but records were rejected"],
  ["7", "the stores differ"],
  ["130, 143", "interrupted, terminated: rolled back"],
  ["141", "the reader of the output went away"],
];

/** From the built program. Pages of commands that are gone go, too. */
export async function writeManPages() {
  const { createProgram, examplesOf } = await import(new URL("../dist/commands/syntax/program.js", import.meta.url));
  const { VERSION: version } = await import(new URL("../dist/version.js", import.meta.url));
  const program = createProgram(async () => {}, new AbortController().signal, NAME);
  const all = [[[], program], ...below(program)];
  const others = all.map(([words]) => pageName(words));
  const folder = join(root, "man");
  mkdirSync(folder, { recursive: true });
  for (const [words, command] of all) {
    const text = page(command, words, { version, examplesOf, statuses: STATUSES, others });
    writeFileSync(join(folder, `${pageName(words)}.1`), `${text}\n`);
  }
  for (const file of readdirSync(folder)) if (!others.includes(file.slice(0, -2))) rmSync(join(folder, file));
}

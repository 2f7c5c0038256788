/** A report as one page: no script, nothing from elsewhere, readable on paper and on a telephone. */
import { type Bar, barChart, lineChart } from "./charts.js";
import { bytes, count, duration, time } from "./figures.js";
import { html, Markup } from "./markup.js";
import type { ComparedSection, Report, ReportComparison, ReportSection, ReportStore } from "./report.js";
import { STYLE } from "./style.js";

/** What every page of ours begins with. */
export const PAGE_BEGIN = "<!doctype html>\n<!-- llmspell-storage report -->";

/** Of warnings and the like so many are shown. */
const MOST_LINES = 100;

const STATUS: Readonly<Record<Report["status"], readonly [label: string, look: string]>> = {
  done: ["Done", "good"],
  "dry run": ["Dry run: nothing was written", "warn"],
  rejected: ["Done, but records were rejected", "warn"],
  different: ["The stores differ", "bad"],
  failed: ["Failed", "bad"],
};

const COLUMNS: readonly (readonly [keyof ReportSection, string])[] = [
  ["read", "Read"],
  ["new", "New"],
  ["changed", "Changed"],
  ["unchanged", "Unchanged"],
  ["skipped", "Skipped"],
  ["rejected", "Rejected"],
  ["cascaded", "Cascaded"],
  ["dropped", "Dropped"],
  ["pruned", "Pruned"],
];

export function reportPage(report: Report): string {
  const [status, look] = STATUS[report.status];
  const title = `${report.command.replace(/^./, (letter) => letter.toUpperCase())} report`;
  const body = html`<main>
<header><div><h1>${title}</h1><p class="quiet">${time(report.started)} to ${time(report.ended)}</p></div><span class="badge ${look}">${status}</span></header>
<dl class="way"><dt>From</dt><dd>${storeText(report.from)}</dd><dt>To</dt><dd>${storeText(report.to)}</dd></dl>
${problem(report)}
${tiles(report)}
${sections(report)}
${comparison(report)}
${charts(report)}
${digests(report)}
${lines("Left out", "What the source holds and the run did not take.", report.leftOut)}
${lines("Warnings", "", report.warnings)}
${lines("Notes", "", report.notes)}
${definitions("Settings", report.settings)}
${definitions("Made by", { ...report.tool, Host: report.host })}
<div class="signature"><span>Checked by</span><span>Date</span><span>Signature</span></div>
<footer>Written by llmspell-storage. No value of a record is in this page but those of keys; --report FILE.json has the same for programs.</footer>
</main>`;
  const policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
  const head = html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Markup(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${`${title}, ${time(report.started)}`}</title>
<style>${new Markup(STYLE)}</style>
</head>`;
  return `${PAGE_BEGIN}\n${head.text}\n<body>\n${body.text}\n</body>\n</html>\n`;
}

function storeText({ name, backend, versions, migrations }: ReportStore): Markup {
  const facts = [
    ...Object.entries(versions ?? {}).map((entry) => entry.join(" ")),
    ...(backend === undefined || versions !== undefined ? [] : [`records of ${backend}`]),
    ...(migrations?.length ? [`schema ${[...new Set([migrations[0], migrations.at(-1)])].join(" to ")}`] : []),
  ];
  return html`<code>${name}</code>${facts.length === 0 ? "" : html` <span class="quiet">${facts.join(", ")}</span>`}`;
}

function problem({ error, status }: Report): Markup {
  if (error === undefined) return html``;
  const { message, code, section, key, field, causes, hint, outcomeUnknown, unfinishedRun } = error;
  const outcome = outcomeUnknown
    ? "Whether the target has the records is not known."
    : unfinishedRun === undefined
      ? "Nothing was written."
      : `What the run ${unfinishedRun} has loaded stays in the target until it is resumed or undone.`;
  const place = Object.entries({ section, record: key, field }).filter(([, value]) => value !== undefined);
  return html`<div class="problem"><p class="any"><b>${message}</b> <code>${code}</code></p>
${place.length === 0 ? "" : html`<p class="any">${place.map(([name, value]) => `${name} ${value}`).join(", ")}</p>`}
${causes.map((cause) => html`<p class="any">Caused by: ${cause}</p>`)}
${status === "failed" ? html`<p>${outcome}</p>` : ""}
${hint === undefined ? "" : html`<p class="any quiet">${hint}</p>`}</div>`;
}

function tiles({ totals, seconds, recordsPerSecond, bytesPerSecond, documentBytes }: Report): Markup {
  const all: [string, string][] = [
    ...(totals === undefined ? [] : ([["Records", count(totals.read)]] as [string, string][])),
    ["Duration", duration(seconds)],
    ...(totals === undefined
      ? []
      : ([
          ["Records per second", count(recordsPerSecond)],
          ["Values", bytes(totals.valueBytes)],
          ["Values per second", bytes(bytesPerSecond)],
        ] as [string, string][])),
    ...(documentBytes === undefined ? [] : ([["Document, uncompressed", bytes(documentBytes)]] as [string, string][])),
  ];
  return html`<div class="tiles">${all.map(([label, value]) => html`<div class="tile"><b>${value}</b><span>${label}</span></div>`)}</div>`;
}

function sections({ sections: all, totals }: Report): Markup {
  if (totals === undefined) return html``;
  if (all.length === 0) return html`<h2>Sections</h2><p class="quiet">No records.</p>`;
  const columns = COLUMNS.filter(([name]) => totals[name as "read"] !== undefined);
  const cells = (row: Omit<ReportSection, "path" | "label">): Markup[] => [
    ...columns.map(([name, label]) => {
      const value = row[name as "read"] ?? 0;
      return html`<td data-label="${label}" class="${value === 0 ? "zero" : "some"}">${count(value)}</td>`;
    }),
    html`<td data-label="Bytes">${bytes(row.valueBytes)}</td>`,
  ];
  return html`<h2>Sections</h2>
<table class="counts"><thead><tr><th>Section</th>${columns.map(([, label]) => html`<th>${label}</th>`)}<th>Bytes</th></tr></thead>
<tbody>${all.map((row) => html`<tr><td>${row.path}</td>${cells(row)}</tr>\n`)}</tbody>
<tfoot><tr><td>Total</td>${cells(totals)}</tr></tfoot></table>`;
}

const COMPARED: readonly (readonly [Exclude<keyof ComparedSection, "path">, string])[] = [
  ["identical", "Identical"],
  ["byMeaning", "Equal by meaning"],
  ["different", "Different"],
  ["onlyInA", "Only in A"],
  ["onlyInB", "Only in B"],
  ["unreadableInA", "Unreadable in A"],
  ["unreadableInB", "Unreadable in B"],
];

function comparison({ comparison: found }: Report): Markup {
  if (found === undefined) return html``;
  const cells = (row: ComparedSection): Markup[] =>
    COMPARED.map(([name, label]) => {
      return html`<td data-label="${label}" class="${row[name] === 0 ? "zero" : "some"}">${count(row[name])}</td>`;
    });
  return html`<h2>Sections</h2><p class="quiet">A is the first store, B the second.</p>
<table class="counts compared"><thead><tr><th>Section</th>${COMPARED.map(([, label]) => html`<th>${label}</th>`)}</tr></thead>
<tbody>${found.sections.map((row) => html`<tr><td>${row.path}</td>${cells(row)}</tr>\n`)}</tbody></table>
${found.sample === undefined ? "" : html`<p>A sample: ${count(found.sample.size)} records of each section, seed ${found.sample.seed}. Nothing is said of the others.</p>`}
${lines("Differences", "The first of each section, by key and field.", found.differences.map(differenceText))}
${lines("Not compared", "Fields that one side does not hold.", found.notCompared)}
${searches(found)}
${lines("Findings", "", found.findings)}`;
}

const DIFFERENCES: Readonly<Record<string, string>> = {
  onlyInA: "only in A",
  onlyInB: "only in B",
  meaning: "equal by meaning only",
  unreadableInA: "unreadable in A",
  unreadableInB: "unreadable in B",
};

function differenceText({ section, key, difference, fields, code }: ReportComparison["differences"][number]): string {
  const where = fields?.join(", ") ?? code;
  return `${section}, ${key}: ${DIFFERENCES[difference] ?? difference}${where === undefined ? "" : ` (${where})`}`;
}

function searches({ searches: found }: ReportComparison): Markup {
  if (found === undefined) return html``;
  const { neighbours, seed, results } = found;
  const recall = (name: string, share: number | undefined): string =>
    share === undefined ? "" : `; an index of ${name} finds ${(share * 100).toFixed(1)} %`;
  return lines(
    "Searches",
    `The ${neighbours} nearest by exact distance, seed ${seed}.`,
    results.map(
      ({ path, queries, same, recall: { a, b } }) =>
        `${path}: ${count(same)} of ${count(queries)} the same in both${recall("A", a)}${recall("B", b)}`,
    ),
  );
}

function charts({ sections: all, phases, memory, seconds }: Report): Markup {
  const sum = (bars: readonly Bar[]): number => bars.reduce((total, { value }) => total + value, 0);
  const largest = all
    .map(({ path, valueBytes }) => ({ label: path, value: valueBytes, text: bytes(valueBytes) }))
    .filter(({ value }) => value > 0)
    .sort((one, other) => other.value - one.value);
  const times = phases.map(({ name, seconds: value }) => ({ label: name, value, text: duration(value) }));
  const peak = Math.max(0, ...memory.map((point) => point.bytes));
  return html`${
    largest.length < 2
      ? ""
      : html`<h2>Bytes per section</h2>
${barChart(largest, (rest) => ({ label: `${rest.length} more`, value: sum(rest), text: bytes(sum(rest)) }))}`
  }
${
  times.length < 2
    ? ""
    : html`<h2>Time per phase</h2>
${barChart(times, (rest) => ({ label: `${rest.length} more`, value: sum(rest), text: duration(sum(rest)) }))}`
}
${
  memory.length < 2
    ? ""
    : html`<h2>Memory</h2>
${lineChart(
  memory.map(({ seconds: x, bytes: y }) => ({ x, y })),
  `Memory over time, at most ${bytes(peak)}`,
  [`resident, at most ${bytes(peak)}`, "0 s", duration(seconds)],
)}`
}`;
}

function digests({ sections: all }: Report): Markup {
  const known = all.filter(({ digest }) => digest !== undefined);
  if (known.length === 0) return html``;
  return html`<h2>Digests</h2><p class="quiet">Of what the records mean, whatever store they are in.</p>
<table class="digests"><thead><tr><th>Section</th><th>Digest</th></tr></thead>
<tbody>${known.map(({ path, digest }) => html`<tr><td>${path}</td><td class="mono">${digest ?? ""}</td></tr>`)}</tbody></table>`;
}

function lines(heading: string, introduction: string, all: readonly string[]): Markup {
  if (all.length === 0) return html``;
  const more = all.length - MOST_LINES;
  return html`<h2>${heading}</h2>${introduction === "" ? "" : html`<p class="quiet">${introduction}</p>`}
<ul>${all.slice(0, MOST_LINES).map((line) => html`<li>${line}</li>`)}${more > 0 ? html`<li class="quiet">and ${count(more)} more</li>` : ""}</ul>`;
}

function definitions(heading: string, all: Readonly<Record<string, string>>): Markup {
  const entries = Object.entries(all);
  if (entries.length === 0) return html``;
  return html`<h2>${heading}</h2><dl class="way">${entries.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

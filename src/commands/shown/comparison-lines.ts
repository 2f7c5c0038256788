/** What `storage verify` says: a line per section, the first differences, searches and findings; and its `--json`. */
import type {
  Difference,
  SearchResult,
  SectionVerification,
  StoreFinding,
  VerifyResult,
} from "../../api/verification/verify-stores.js";
import { StorageError } from "../../errors.js";
import { comparedRecords } from "../../reports/report.js";
import { formatCount } from "./progress.js";
import { migrationsText, perSecond } from "./statistics.js";

/** What was asked for. */
interface Asked {
  readonly strict?: boolean;
  readonly differences?: string;
}

/** So many differences of a section are shown. */
const SHOWN = 3;

export function resultLines(result: VerifyResult, flags: Asked): string[] {
  const { sections, findings, sample } = result;
  const records = sections.reduce((sum, { identical, byMeaning }) => sum + identical + byMeaning, 0);
  const byMeaning = sections.some((section) => section.byMeaning > 0);
  const told = sections.flatMap(({ first }) => first.slice(0, SHOWN));
  const all = sections.reduce((sum, section) => sum + differencesOf(section, flags.strict === true), 0);
  const rest = all - told.length;
  return [
    ...(sample === undefined
      ? []
      : [`Sample: ${formatCount(sample.size)} records of each section, --seed ${sample.seed}`]),
    ...sections.map(sectionLine),
    ...sections.flatMap(({ path, notHeld }) =>
      notHeld.length === 0 ? [] : [`  ${path}: one side lacks ${notHeld.join(", ")}: not compared`],
    ),
    ...(told.length === 0 ? [] : ["Differences:", ...told.flatMap(differenceLines)]),
    ...(rest > 0
      ? [`  and ${formatCount(rest)} more${flags.differences === undefined ? " (--differences FILE)" : ""}`]
      : []),
    ...searchLines(result),
    ...(findings.length === 0 ? [] : ["Findings:", ...findings.map(findingLine)]),
    ...result.notes,
    ...runLines(result),
    ...(result.equal
      ? [
          sections.length === 0
            ? "✅ Equal: neither has records"
            : `✅ ${byMeaning ? "Equal by meaning" : "Identical"}${sample === undefined ? "" : " in the sample"}: ${formatCount(records)} records`,
        ]
      : []),
  ];
}

/** With what, and how long it took. */
function runLines({ headers, started, ended, seconds, sections }: VerifyResult): string[] {
  const store = (side: "a" | "b"): string => {
    const { backend, migrations, versions } = headers[side];
    const facts = [
      ...(versions === undefined
        ? [`records of ${backend}`]
        : Object.entries(versions).map((entry) => entry.join(" "))),
      ...(migrations.length > 0 ? [migrationsText(migrations)] : []),
    ];
    return `${side.toUpperCase()} ${facts.join(", ")}`;
  };
  const rate = formatCount(perSecond(comparedRecords(sections), seconds));
  return [
    `Versions: ${store("a")}; ${store("b")}`,
    `Time: ${started} to ${ended}, ${seconds.toFixed(1)} s, ${rate} records/s`,
  ];
}

function differencesOf(section: SectionVerification, strict: boolean): number {
  const { onlyInA, onlyInB, different, unreadableInA, unreadableInB, byMeaning } = section;
  return onlyInA + onlyInB + different + unreadableInA + unreadableInB + (strict ? byMeaning : 0);
}

/** `sessions: 40 equal (3 identical, 37 by meaning), 1 only in A` */
function sectionLine(section: SectionVerification): string {
  const { path, identical, byMeaning, onlyInA, onlyInB, different, unreadableInA, unreadableInB } = section;
  const counts = [
    [onlyInA, "only in A"],
    [onlyInB, "only in B"],
    [different, "different"],
    [unreadableInA, "unreadable in A"],
    [unreadableInB, "unreadable in B"],
  ] as const;
  const same =
    byMeaning === 0
      ? `${formatCount(identical)} identical`
      : `${formatCount(identical + byMeaning)} equal (${formatCount(byMeaning)} by meaning)`;
  const others = counts.filter(([count]) => count > 0).map(([count, what]) => `${formatCount(count)} ${what}`);
  return `  ${path}: ${[same, ...others].join(", ")}`;
}

const WORDS = {
  onlyInA: "only in A",
  onlyInB: "only in B",
  different: "different",
  meaning: "equal by meaning only",
  unreadableInA: "unreadable in A",
  unreadableInB: "unreadable in B",
} as const;

function differenceLines({ section, key, difference, fields, values, code, field }: Difference): string[] {
  const where = fields?.join(", ") ?? [code, field].filter((part) => part !== undefined).join(", ");
  return [
    `  ${section}, ${key}: ${WORDS[difference]}${where === "" ? "" : ` (${where})`}`,
    ...Object.entries(values ?? {}).flatMap(([name, { a, b }]) => [
      `    A ${name}: ${a ?? "NULL"}`,
      `    B ${name}: ${b ?? "NULL"}`,
    ]),
  ];
}

/** `vectors of 768: 10 searches, the same 10 nearest in both; an index finds 98.0 % in B` */
function searchLines({ searches }: VerifyResult): string[] {
  if (searches === undefined) return [];
  const { neighbours, seed, results } = searches;
  const recalls = (recall: SearchResult["recall"]): string =>
    (["a", "b"] as const)
      .flatMap((side) =>
        recall[side] === undefined ? [] : [`${(recall[side] * 100).toFixed(1)} % in ${side.toUpperCase()}`],
      )
      .join(", ");
  return [
    `Searches, the ${neighbours} nearest by exact distance, --seed ${seed}:`,
    ...results.map(({ path, queries, same, recall }) => {
      const indexes = recalls(recall);
      return `  ${path}: ${same} of ${queries} the same${indexes === "" ? "" : `; of these an index finds ${indexes}`}`;
    }),
  ];
}

function findingLine({ store, message, counts }: StoreFinding): string {
  return `  ${store.toUpperCase()}: ${message}${counts ? "" : store === "a" ? "" : " (A has that, too)"}`;
}

/** E_DIFFERENT, with the first difference that there is. */
export function differenceError({ sections, findings, searches }: VerifyResult, flags: Asked): StorageError {
  const [first] = sections.flatMap((section) => section.first);
  const count = sections.reduce((sum, section) => sum + differencesOf(section, flags.strict === true), 0);
  const counting = findings.filter(({ counts }) => counts);
  const field = first?.fields?.[0] ?? first?.field;
  const searched = (searches?.results ?? []).reduce((sum, { queries, same }) => sum + queries - same, 0);
  const parts = [
    ...(count === 0 ? [] : [`${formatCount(count)} record${count === 1 ? "" : "s"}`]),
    ...(counting.length === 0 ? [] : [`${counting.length} finding${counting.length === 1 ? "" : "s"}`]),
    ...(searched === 0 ? [] : [`${searched} search${searched === 1 ? "" : "es"}`]),
  ];
  const what =
    count + searched === 0
      ? "the stores hold the same records, but have"
      : flags.strict === true
        ? "the stores are not identical:"
        : "the stores differ:";
  return new StorageError("E_DIFFERENT", `${what} ${parts.join(", ")}`, {
    ...(first === undefined ? {} : { section: first.section, key: first.key }),
    ...(field === undefined ? {} : { field }),
    ...(first === undefined
      ? { detail: findingsText(counting) }
      : { detail: `it is ${WORDS[first.difference]}${first.code === undefined ? "" : ` [${first.code}]`}` }),
    ...(count === 0
      ? {}
      : {
          hint: `${first?.code === undefined ? "" : `\`llmspell explain ${first.code}\` says what keeps it from being read. `}${
            flags.differences === undefined
              ? "With --differences FILE every one of them is written, as NDJSON; with --show-values with its values."
              : `They are in ${flags.differences}, one per line.`
          }`,
        }),
  });
}

/** The first of them; all are among the lines. */
function findingsText(findings: readonly StoreFinding[]): string {
  const shown = findings.slice(0, SHOWN).map(({ store, message }) => `${store.toUpperCase()}: ${message}`);
  return [...shown, ...(findings.length > SHOWN ? [`and ${findings.length - SHOWN} more`] : [])].join("; ");
}

export function resultObject({ a, b, headers, sections, seconds, ...rest }: VerifyResult): object {
  return {
    a: { name: a, sourceBackend: headers.a.backend, migrations: headers.a.migrations },
    b: { name: b, sourceBackend: headers.b.backend, migrations: headers.b.migrations },
    ...rest,
    sections: Object.fromEntries(sections.map(({ path, ...section }) => [path, section])),
    seconds: Math.round(seconds * 1000) / 1000,
  };
}

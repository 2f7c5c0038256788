/** What people hand in that is no document, by its first bytes, and what makes a document of it. */
import { StorageError } from "../../errors.js";

/** A file's first bytes that tell what it is. */
interface ForeignForm {
  readonly what: string;
  /** Each of these, as latin1, at `at` (default 0). */
  readonly magic: readonly string[];
  readonly at?: number;
  /** Prints the document; FILE is the input's name. */
  readonly unpack?: string;
  /** The same of standard input, where that is more than `unpack` without FILE. */
  readonly filter?: string;
  /** Instead of a command, or before it. FILE is the input's name. */
  readonly advice?: string;
}

/** So many first bytes are looked at. */
export const HEAD_BYTES = 512;

const INTO = "llmspell storage import --input -";
const POWERSHELL =
  "PowerShell 5 makes such a file of `>`, and spoils letters beyond ASCII: export again with --output.";

/** The first that fits counts. */
const FORMS: readonly ForeignForm[] = [
  {
    what: "an SQLite database",
    magic: ["SQLite format 3\0"],
    advice: "A database is copied directly: `llmspell storage migrate --from STORE --to …`, the target behind --to.",
  },
  {
    what: "an archive of pg_dump",
    magic: ["PGDMP"],
    advice:
      "Restore it into a database of its own (`createdb restored`, `pg_restore --dbname=restored FILE`) and copy that: `llmspell storage migrate --from postgresql://…/restored --to …`.",
  },
  {
    what: "SQL of pg_dump",
    magic: ["--\n-- PostgreSQL database", "--\r\n-- PostgreSQL database"],
    advice:
      "Load it into a database of its own (`createdb restored`, `psql --dbname=restored --file=FILE`) and copy that: `llmspell storage migrate --from postgresql://…/restored --to …`.",
  },
  {
    what: "SQL of sqlite3's .dump",
    magic: ["PRAGMA foreign_keys=OFF;", "BEGIN TRANSACTION;"],
    advice:
      "Load it into a database of its own (`sqlite3 restored.db < FILE`) and copy that: `llmspell storage migrate --from sqlite:restored.db --to …`.",
  },
  { what: "UTF-32 text", magic: ["\xff\xfe\0\0", "\0\0\xfe\xff"], unpack: "iconv -f UTF-32 -t UTF-8 FILE" },
  {
    what: "UTF-16 text",
    magic: ["\xff\xfe", "\xfe\xff"],
    advice: POWERSHELL,
    unpack: "iconv -f UTF-16 -t UTF-8 FILE",
  },
  { what: "UTF-16 text", magic: ["{\0"], advice: POWERSHELL, unpack: "iconv -f UTF-16LE -t UTF-8 FILE" },
  { what: "UTF-16 text", magic: ["\0{"], advice: POWERSHELL, unpack: "iconv -f UTF-16BE -t UTF-8 FILE" },
  // Within gzip or zstd, which are read as they are.
  { what: "compressed twice (gzip)", magic: ["\x1f\x8b"], unpack: "gzip -dc FILE" },
  { what: "compressed twice (zstd)", magic: ["\x28\xb5\x2f\xfd"], unpack: "zstd -dc FILE" },
  { what: "compressed with xz", magic: ["\xfd7zXZ\0"], unpack: "xz -dc FILE" },
  { what: "compressed with bzip2", magic: ["BZh"], unpack: "bzip2 -dc FILE" },
  { what: "compressed with lz4", magic: ["\x04\x22\x4d\x18", "\x02\x21\x4c\x18"], unpack: "lz4 -dc FILE" },
  { what: "compressed with lzip", magic: ["LZIP"], unpack: "lzip -dc FILE" },
  { what: "compressed with compress", magic: ["\x1f\x9d"], unpack: "gzip -dc FILE" },
  {
    what: "compressed with a zstd before 1.0",
    magic: ["\x22", "\x23", "\x24", "\x25", "\x26", "\x27"].map((version) => `${version}\xb5\x2f\xfd`),
    unpack: "zstd -dc FILE",
  },
  { what: "a zip archive", magic: ["PK\x03\x04", "PK\x05\x06"], unpack: "funzip FILE" },
  { what: "a 7z archive", magic: ["7z\xbc\xaf\x27\x1c"], unpack: "7z x -so FILE" },
  { what: "a tar archive", magic: ["ustar"], at: 257, unpack: "tar -xOf FILE", filter: "tar -xOf -" },
  { what: "encrypted with age", magic: ["age-encryption.org/"], unpack: "age -d FILE" },
  { what: "encrypted with PGP", magic: ["-----BEGIN PGP MESSAGE"], unpack: "gpg -d FILE" },
  {
    what: "a web page",
    magic: ["<!DOCTYPE", "<!doctype", "<html", "<HTML"],
    advice: "The download gave a page of the server, perhaps an error or a log-in.",
  },
];

/**
 * E_DOCUMENT_PARSE or E_INVALID_UTF8, saying what it is, where the first bytes are those of something else. `path` is undefined for a stream,
 * `packed` what was unpacked already.
 */
export function refuseForeignForm(head: Buffer, path: string | undefined, packed?: "gzip" | "zstd"): void {
  const text = head.toString("latin1");
  const form = FORMS.find(({ magic, at = 0 }) => magic.some((bytes) => text.startsWith(bytes, at)));
  if (form === undefined) return;
  const file = path === undefined ? "FILE" : inShell(path);
  const unpacker = packed === undefined ? undefined : `${packed} -dc${path === undefined ? "" : ` ${file}`}`;
  const code = form.what.startsWith("UTF-") ? "E_INVALID_UTF8" : "E_DOCUMENT_PARSE";
  throw new StorageError(code, "Failed to parse export JSON", {
    detail: `the input is ${form.what}, not an export document`,
    hint: [adviceFor(form, path, unpacker), commandFor(form, path, unpacker)].filter((part) => part !== "").join(" "),
  });
}

function adviceFor({ advice = "" }: ForeignForm, path: string | undefined, unpacker: string | undefined): string {
  const needsFile = /\b(FILE|STORE)\b/.test(advice);
  const isThere = path !== undefined && unpacker === undefined;
  const save = isThere || !needsFile ? "" : `Save it${unpacker === undefined ? "" : ` (${unpacker})`} as FILE. `;
  return `${save}${advice
    .replaceAll("STORE", isThere ? inShell(`sqlite:${path}`) : "sqlite:FILE")
    .replaceAll("FILE", isThere ? inShell(path) : "FILE")}`;
}

function commandFor({ unpack, filter }: ForeignForm, path: string | undefined, unpacker: string | undefined): string {
  if (unpack === undefined) return "";
  const ofStream = filter ?? unpack.replace(" FILE", "");
  const steps =
    path === undefined
      ? ["…", ...(unpacker === undefined ? [] : [unpacker]), ofStream]
      : unpacker === undefined
        ? [unpack.replace("FILE", () => inShell(path))]
        : [unpacker, ofStream];
  return `\`${[...steps, INTO].join(" | ")}\` reads it.`;
}

/** As one word of a shell. */
function inShell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Secrets out of anything that is shown. Takes time in proportion to the text, which may hold names of others' making. */

/** `password=…`, as URLs, libpq, JDBC and ADO have it, under any longer name that ends so (PGPASSWORD). */
const PARAMETER = /(pass(?:word|wd)|pwd)(\s{0,9}=\s{0,9})(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^&\s]*)/gi;

/**
 * `text` without the passwords of the URLs in it, and of `user:password@host/…` without a scheme. A password may hold any
 * character, even `@` and `/`; after a scheme also white space.
 */
export function redact(text: string): string {
  return text.split("\n").map(redactLine).join("\n").replace(PARAMETER, "$1$2***");
}

function redactLine(line: string): string {
  const lastAt = line.lastIndexOf("@");
  if (lastAt < 0) return line;
  let shown = "";
  let from = 0;
  for (const { 0: word, index } of line.matchAll(/\S+/g)) {
    if (index > lastAt) break;
    if (index < from) continue;
    const { colon, hasScheme } = passwordColon(word);
    if (colon < 0) continue;
    let at = word.lastIndexOf("@");
    if (at < 0 && hasScheme && !isPort(word, colon + 1)) at = line.indexOf("@", index) - index;
    // Without a scheme only in a path, or before a port or a path: a key may have both characters.
    if (at < colon || !(hasScheme || /[/:]/.test(word.slice(at)) || word.slice(0, colon).includes("/"))) continue;
    shown += line.slice(from, index + colon);
    from = index + at;
  }
  return shown + line.slice(from);
}

/** Where the colon before a password would be: behind a scheme, or the first; -1 where there is none. */
function passwordColon(text: string): { readonly colon: number; readonly hasScheme: boolean } {
  const first = text.indexOf(":");
  const hasScheme = first >= 0 && text.startsWith("://", first);
  return { colon: hasScheme ? text.indexOf(":", first + 3) : first, hasScheme };
}

/** Whether a number that ends there begins at the place. */
function isPort(text: string, at: number): boolean {
  let end = at;
  while (/\d/.test(text.charAt(end))) end++;
  return !/\w/.test(text.charAt(end));
}

/**
 * A text of the user's that was to name a store, without whatever may be a password in it: who mistypes a URL gives one of no
 * known form. A name of a file stays as it is, but for one with a colon before an `@`.
 */
export function redactUnknown(text: string): string {
  const at = text.lastIndexOf("@");
  const { colon, hasScheme } = passwordColon(text);
  if (colon >= 0 && colon < at) return redact(`${text.slice(0, colon + 1)}***${text.slice(at)}`);
  // A URL whose @ was forgotten.
  if (hasScheme && colon >= 0 && !isPort(text, colon + 1)) return redact(`${text.slice(0, colon + 1)}***`);
  // A line of .pgpass: host:port:database:user:password.
  const fields = text.split(":", 5);
  if (fields.length === 5 && /^(\d+|\*)$/.test(fields[1] as string))
    return redact(`${fields.slice(0, 4).join(":")}:***`);
  return redact(text);
}

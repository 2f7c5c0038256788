/** Text from outside (data, file names, servers, plugins) as it may stand in a line of a terminal or a log. */

/**
 * What moves the cursor, ends a line, hides or reorders text: control characters (C0, DEL, C1), line and paragraph separators,
 * marks of direction, the byte order mark, annotations, tags; and lone surrogates, which no output can hold.
 */
const HIDDEN = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f" };

/** One line: what would not be seen as itself is escaped as in JSON. */
export function visibleText(text: string): string {
  return text.replace(HIDDEN, (found) => NAMED[found] ?? escaped(found));
}

/** JSON text as it was, with such characters escaped that JSON allows in strings. */
export function visibleJson(json: string): string {
  return json.replace(HIDDEN, escaped);
}

function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, at) => {
    return `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`;
  }).join("");
}

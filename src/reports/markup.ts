/** Text from outside (names, keys, servers' messages) as it may stand in a page. */

/** A name or a message that is longer is cut: whoever needs all of it has the JSON. Characters. */
const MOST_CHARACTERS = 600;

/** As in src/commands/visible-text.ts: what ends a line, hides or reorders text is shown by its code. */
const HIDDEN = /[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Markup that is complete: nothing in it comes from outside unescaped. */
export class Markup {
  constructor(readonly text: string) {}
}

type Part = string | number | Markup | readonly Markup[];

/** Every part that is no markup is escaped. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(strings.map((text, at) => text + shown(parts[at])).join(""));
}

function shown(part: Part | undefined): string {
  if (part === undefined) return "";
  if (part instanceof Markup) return part.text;
  return typeof part === "object" ? part.map(({ text }) => text).join("") : escapeText(String(part));
}

function escapeText(text: string): string {
  const characters = [...text];
  const cut = characters.length > MOST_CHARACTERS;
  const kept = cut ? `${characters.slice(0, MOST_CHARACTERS).join("")}… (${characters.length} characters)` : text;
  return kept
    .replace(HIDDEN, (found) => `\\u{${(found.codePointAt(0) as number).toString(16)}}`)
    .replace(/[&<>"']/g, (found) => ENTITIES[found] as string);
}

/** `test`: the patterns that mean the same to Oniguruma (jq's) and to JavaScript. */
import { JqError } from "./access.js";
import { Undecided } from "./numbers.js";
import { typeOf, type Value } from "./values.js";

/** One element each; what does not match from end to end is left to real jq. */
const ELEMENT =
  /\(\?:|[()|^$.]|\[\^?(?:[\w ]-[\w ]|[\w .@:/,+])+-?\]|\\[.\\/\-()[\]{}+*?^$|]|\\[dDwWsSb]|[\w !"#%&',:;<=>@~/-]|[\u00a1-\ud7ff]/uy;
const QUANTIFIER = /[*+?]\??|\{\d{1,3}(?:,\d{0,3})?\}/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what ASCII is
const ASCII = /^[\x00-\x7f]*$/;

/** The test, or undefined for a pattern whose meaning is not certainly the same. */
export function compileTest(pattern: string, flags: string): ((value: Value) => boolean) | undefined {
  const translated = translate(pattern);
  if (translated === undefined || !/^i?$/.test(flags)) return undefined;
  let expression: RegExp;
  try {
    expression = new RegExp(translated.source, `u${flags}`);
  } catch {
    return undefined;
  }
  // What a letter, a digit or a capital is, differs beyond ASCII; where lines begin, differs in texts of many.
  const needsAscii = translated.hasClasses || flags === "i";
  return (value) => {
    if (typeof value !== "string") throw new JqError(`${typeOf(value)} cannot be matched, as it is not a string`);
    if (needsAscii && !ASCII.test(value)) throw new Undecided();
    if (translated.hasAnchors && value.includes("\n")) throw new Undecided();
    return expression.test(value);
  };
}

interface Translated {
  readonly source: string;
  readonly hasClasses: boolean;
  readonly hasAnchors: boolean;
}

function translate(pattern: string): Translated | undefined {
  let source = "";
  let hasClasses = false;
  let hasAnchors = false;
  /** Of each open group: whether something in it is repeated. */
  const open: boolean[] = [false];
  let at = 0;
  while (at < pattern.length) {
    ELEMENT.lastIndex = at;
    const element = ELEMENT.exec(pattern)?.[0];
    if (element === undefined) return undefined;
    at += element.length;
    source += spell(element);
    let repeatable = !["(", "(?:", "|", "^", "$", "\\b"].includes(element);
    if (/^\\[dDwWsSb]$/.test(element)) hasClasses = true;
    if (element === "^" || element === "$") hasAnchors = true;
    if (element.startsWith("(")) open.push(false);
    let inner = false;
    if (element === ")") {
      if (open.length === 1) return undefined;
      inner = open.pop() as boolean;
      repeatable = !inner;
    }
    QUANTIFIER.lastIndex = at;
    const quantifier = QUANTIFIER.exec(pattern)?.[0];
    if (quantifier !== undefined) {
      // A repeated repetition may take forever in one of the two.
      if (!repeatable) return undefined;
      at += quantifier.length;
      source += quantifier;
      if (/[*+?{]/.test(pattern[at] ?? "")) return undefined;
    }
    if (quantifier !== undefined || inner) open[open.length - 1] = true;
  }
  return open.length === 1 ? { source, hasClasses, hasAnchors } : undefined;
}

function spell(element: string): string {
  if (element === ".") return "[^\\n]";
  if (element === "(") return "(?:";
  if (element === "\\-") return "-";
  return element;
}

/** The words, operators and strings of jq. */

export class JqSyntaxError extends Error {
  constructor(
    message: string,
    /** Offset into the program's text. */
    readonly at: number,
  ) {
    super(message);
  }
}

const SPACE = /(?:[ \t\r\n]|#[^\n]*)*/y;
export const IDENTIFIER = /(?:[A-Za-z_]\w*::)*[A-Za-z_]\w*/y;
export const FIELD = /\.[A-Za-z_]\w*/y;
export const FORMAT = /@\w+/y;
export const NUMBER = /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y;
/** Longest first. */
const OPERATOR = /\?\/\/=?|\/\/=|\|=|\+=|-=|\*=|\/=|%=|==|!=|<=|>=|\/\/|\.\.|[|,=+\-*/%<>?.;:()[\]{}$]/y;
const KEYWORDS = new Set(
  "def if then elif else end as reduce foreach try catch label import include and or __loc__".split(" "),
);
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

export class Lexer {
  protected at = 0;
  constructor(protected readonly source: string) {}

  protected match(pattern: RegExp): string | undefined {
    this.skip();
    pattern.lastIndex = this.at;
    return pattern.exec(this.source)?.[0];
  }

  protected skip(): number {
    SPACE.lastIndex = this.at;
    this.at += SPACE.exec(this.source)?.[0].length ?? 0;
    return this.at;
  }

  protected operator(): string | undefined {
    return this.match(OPERATOR);
  }

  protected take(token: string): boolean {
    if (this.operator() !== token) return false;
    this.at += token.length;
    return true;
  }

  protected expect(token: string): void {
    if (!this.take(token)) throw this.unexpected(token);
  }

  protected takeWord(word: string): boolean {
    if (this.match(IDENTIFIER) !== word) return false;
    this.at += word.length;
    return true;
  }

  protected expectWord(word: string): void {
    if (!this.takeWord(word)) throw this.unexpected(word);
  }

  protected since(start: number): string {
    return this.source.slice(start, this.at);
  }

  protected unexpected(wanted?: string): JqSyntaxError {
    const at = this.skip();
    const found = this.match(IDENTIFIER) ?? this.operator() ?? this.source[at];
    const expected = wanted === undefined ? "" : `, expected ${wanted}`;
    return new JqSyntaxError(`unexpected ${found === undefined ? "end" : found}${expected}`, at);
  }

  protected identifier(): string {
    const name = this.match(IDENTIFIER);
    if (name === undefined || KEYWORDS.has(name)) throw this.unexpected();
    this.at += name.length;
    return name;
  }

  protected escape(escaped: string): string {
    if (escaped === "u") {
      const digits = /^[0-9a-fA-F]{4}/.exec(this.source.slice(this.at))?.[0];
      if (digits !== undefined) {
        this.at += 4;
        return String.fromCharCode(Number.parseInt(digits, 16));
      }
    }
    const character = ESCAPES[escaped];
    if (character === undefined) throw new JqSyntaxError("an unknown escape in a string", this.at - 2);
    return character;
  }
}

/**
 * Reads a jq program into a tree; what is no jq is a JqSyntaxError with its place.
 * Over 300 lines: one method per rule of the grammar.
 */
import { type Ast, IDENTITY, type ObjectEntry, type Pattern, text } from "./ast.js";
import { FIELD, FORMAT, IDENTIFIER, JqSyntaxError, Lexer, NUMBER } from "./lexer.js";

const ASSIGNMENTS = new Set(["=", "|=", "+=", "-=", "*=", "/=", "%=", "//="]);
const COMPARISONS = new Set(["==", "!=", "<", "<=", ">", ">="]);
class Parser extends Lexer {
  program(): Ast {
    const ast = this.pipe();
    if (this.skip() < this.source.length) throw this.unexpected();
    return ast;
  }

  private pipe(): Ast {
    const start = this.skip();
    if (this.takeWord("def")) {
      const body = this.definition();
      const rest = this.pipe();
      return { type: "def", body, rest, spelling: this.since(start) };
    }
    if (this.takeWord("label")) {
      this.expect("$");
      this.identifier();
      this.expect("|");
      const body = this.pipe();
      return { type: "label", body, spelling: this.since(start) };
    }
    const left = this.comma();
    return this.take("|") ? { type: "pipe", left, right: this.pipe() } : left;
  }

  private definition(): Ast {
    this.identifier();
    if (this.take("(")) {
      do {
        this.take("$");
        this.identifier();
      } while (this.take(";"));
      this.expect(")");
    }
    this.expect(":");
    const body = this.pipe();
    this.expect(";");
    return body;
  }

  private comma(): Ast {
    let left = this.alternative();
    while (this.take(",")) left = { type: "comma", left, right: this.alternative() };
    return left;
  }

  private alternative(): Ast {
    const left = this.assignment();
    return this.take("//") ? { type: "binary", op: "//", left, right: this.alternative() } : left;
  }

  private assignment(): Ast {
    const left = this.or();
    const op = this.operator();
    if (op === undefined || !ASSIGNMENTS.has(op)) return left;
    this.at += op.length;
    const right = this.or();
    if (ASSIGNMENTS.has(this.operator() ?? "")) throw this.unexpected();
    return { type: "assign", op, left, right };
  }

  private or(): Ast {
    let left = this.and();
    while (this.takeWord("or")) left = { type: "binary", op: "or", left, right: this.and() };
    return left;
  }

  private and(): Ast {
    let left = this.comparison();
    while (this.takeWord("and")) left = { type: "binary", op: "and", left, right: this.comparison() };
    return left;
  }

  private comparison(): Ast {
    const left = this.sum();
    const op = this.operator();
    if (op === undefined || !COMPARISONS.has(op)) return left;
    this.at += op.length;
    const right = this.sum();
    if (COMPARISONS.has(this.operator() ?? "")) throw this.unexpected();
    return { type: "binary", op, left, right };
  }

  private sum(): Ast {
    let left = this.product();
    for (;;) {
      const op = this.operator();
      if (op !== "+" && op !== "-") return left;
      this.at++;
      left = { type: "binary", op, left, right: this.product() };
    }
  }

  private product(): Ast {
    if (this.take("-")) return { type: "negate", of: this.product() };
    let left = this.postfix();
    for (;;) {
      const op = this.operator();
      if (op !== "*" && op !== "/" && op !== "%") return left;
      this.at++;
      const right = this.operator() === "-" ? this.product() : this.postfix();
      left = { type: "binary", op, left, right };
    }
  }

  /** A term, its suffixes, and a binding behind it. */
  private postfix(): Ast {
    const start = this.skip();
    if (this.takeWord("try")) {
      const body = this.postfix();
      return { type: "try", body, handler: this.takeWord("catch") ? this.postfix() : undefined };
    }
    if (this.takeWord("reduce")) return this.fold(start, 2, 2);
    if (this.takeWord("foreach")) return this.fold(start, 2, 3);
    const term = this.suffixes(this.term());
    if (!this.takeWord("as")) return term;
    const patterns = this.patterns();
    this.expect("|");
    const body = this.pipe();
    return { type: "as", source: term, patterns, body, spelling: this.since(start) };
  }

  private fold(start: number, least: number, most: number): Ast {
    const parts = [this.suffixes(this.term())];
    this.expectWord("as");
    const patterns = this.patterns();
    this.expect("(");
    do parts.push(this.pipe());
    while (this.take(";"));
    if (parts.length <= least || parts.length > most + 1) throw this.unexpected();
    this.expect(")");
    return { type: "fold", parts, patterns, spelling: this.since(start) };
  }

  private patterns(): Pattern[] {
    const patterns = [this.pattern()];
    while (this.take("?//")) patterns.push(this.pattern());
    return patterns;
  }

  private pattern(): Pattern {
    if (this.take("$")) return { name: this.identifier() };
    const parts: Ast[] = [];
    const inner = (): void => {
      const pattern = this.pattern();
      if ("parts" in pattern) parts.push(...pattern.parts);
    };
    if (this.take("[")) {
      do inner();
      while (this.take(","));
      this.expect("]");
      return { parts };
    }
    this.expect("{");
    do {
      if (this.take("$")) this.identifier();
      else if (this.take("(")) {
        parts.push(this.pipe());
        this.expect(")");
      } else if (this.source[this.skip()] === '"') parts.push(this.string(undefined));
      else this.identifier();
      if (this.take(":")) inner();
    } while (this.take(","));
    this.expect("}");
    return { parts };
  }

  private suffixes(term: Ast): Ast {
    let ast = term;
    for (;;) {
      if (this.take("?")) ast = optional(ast);
      else if (this.operator() === "[") ast = this.brackets(ast);
      else if (this.match(FIELD) !== undefined) ast = this.field(ast);
      else if (this.operator() === "." && /^\.[ \t\r\n]*["[]/.test(this.source.slice(this.at))) {
        this.at++;
        if (this.operator() === "[") ast = this.brackets(ast);
        else ast = { type: "index", of: ast, key: this.string(undefined) };
      } else return ast;
    }
  }

  private field(of: Ast): Ast {
    const name = this.match(FIELD) as string;
    this.at += name.length;
    return { type: "index", of, key: text(name.slice(1)) };
  }

  private brackets(of: Ast): Ast {
    this.expect("[");
    if (this.take("]")) return { type: "iterate", of };
    if (this.take(":")) {
      const to = this.pipe();
      this.expect("]");
      return { type: "slice", of, from: undefined, to };
    }
    const key = this.pipe();
    if (!this.take(":")) {
      this.expect("]");
      return { type: "index", of, key };
    }
    const to = this.operator() === "]" ? undefined : this.pipe();
    this.expect("]");
    return { type: "slice", of, from: key, to };
  }

  private term(): Ast {
    if (this.match(FIELD) !== undefined) return this.field(IDENTITY);
    const number = this.match(NUMBER);
    if (number !== undefined) {
      this.at += number.length;
      return { type: "literal", text: number };
    }
    const format = this.match(FORMAT);
    if (format !== undefined) {
      this.at += format.length;
      return this.source[this.skip()] === '"' ? this.string(format) : { type: "format", name: format };
    }
    if (this.source[this.skip()] === '"') return this.string(undefined);
    if (this.take("..")) return { type: "recurse" };
    if (this.take(".")) return this.afterDot();
    if (this.take("(")) {
      const ast = this.pipe();
      this.expect(")");
      // Behind the parenthesis a `?` spares all of it.
      return this.take("?") ? { type: "try", body: ast, handler: undefined } : ast;
    }
    if (this.take("[")) {
      if (this.take("]")) return { type: "array", of: undefined };
      const of = this.pipe();
      this.expect("]");
      return { type: "array", of };
    }
    if (this.take("{")) return this.object();
    if (this.take("$")) return this.variable();
    return this.word();
  }

  private afterDot(): Ast {
    return this.source[this.skip()] === '"' ? { type: "index", of: IDENTITY, key: this.string(undefined) } : IDENTITY;
  }

  private variable(): Ast {
    if (this.takeWord("__loc__")) return { type: "variable", name: "__loc__" };
    return { type: "variable", name: this.identifier() };
  }

  private word(): Ast {
    if (this.takeWord("if")) return this.conditional();
    const at = this.skip();
    const name = this.identifier();
    if (name === "break" && this.take("$")) {
      return { type: "break", name: this.identifier() };
    }
    const args: Ast[] = [];
    if (this.take("(")) {
      do args.push(this.pipe());
      while (this.take(";"));
      this.expect(")");
    }
    if (args.length === 0 && (name === "null" || name === "true" || name === "false"))
      return { type: "literal", text: name };
    return { type: "call", name, args, at };
  }

  /** Behind `if` or `elif`. */
  private conditional(): Ast {
    const condition = this.pipe();
    this.expectWord("then");
    const then = this.pipe();
    if (this.takeWord("elif")) return { type: "if", condition, then, otherwise: this.conditional() };
    const otherwise = this.takeWord("else") ? this.pipe() : undefined;
    this.expectWord("end");
    return { type: "if", condition, then, otherwise };
  }

  private object(): Ast {
    const entries: ObjectEntry[] = [];
    if (this.take("}")) return { type: "object", entries };
    do entries.push(this.entry());
    while (this.take(","));
    this.expect("}");
    return { type: "object", entries };
  }

  private entry(): ObjectEntry {
    if (this.take("(")) {
      const key = this.pipe();
      this.expect(")");
      this.expect(":");
      return { key, value: this.entryValue() };
    }
    if (this.take("$")) {
      const variable = this.variable() as { type: "variable"; name: string };
      return { key: text(variable.name), value: variable };
    }
    let key: Ast;
    const format = this.match(FORMAT);
    if (format !== undefined) this.at += format.length;
    if (format !== undefined || this.source[this.skip()] === '"') key = this.string(format);
    else {
      const name = this.match(IDENTIFIER);
      if (name === undefined || name.includes("::")) throw this.unexpected();
      this.at += name.length;
      key = text(name);
    }
    if (this.take(":")) return { key, value: this.entryValue() };
    return { key, value: { type: "index", of: IDENTITY, key } };
  }

  private entryValue(): Ast {
    const value: Ast = this.take("-") ? { type: "negate", of: this.suffixes(this.term()) } : this.suffixes(this.term());
    return this.take("|") ? { type: "pipe", left: value, right: this.entryValue() } : value;
  }

  private string(format: string | undefined): Ast {
    const start = this.skip();
    if (this.source[start] !== '"') throw this.unexpected("a string");
    this.at++;
    const parts: (string | Ast)[] = [];
    let plain = "";
    for (;;) {
      const character = this.source[this.at];
      if (character === undefined) throw new JqSyntaxError("the string has no end", start);
      this.at++;
      if (character === '"') break;
      if (character !== "\\") {
        plain += character;
        continue;
      }
      const escaped = this.source[this.at++] ?? "";
      if (escaped === "(") {
        parts.push(plain, this.pipe());
        plain = "";
        this.expect(")");
      } else plain += this.escape(escaped);
    }
    parts.push(plain);
    const filled = parts.filter((part) => part !== "");
    return { type: "string", format, parts: filled };
  }
}

function optional(ast: Ast): Ast {
  const isAccess = ast.type === "index" || ast.type === "slice" || ast.type === "iterate";
  if (isAccess && ast.optional !== true) return { ...ast, optional: true };
  return { type: "try", body: ast, handler: undefined };
}

/** Throws JqSyntaxError. */
export function parseJq(source: string): Ast {
  return new Parser(source).program();
}

/** Reads valid JSON text into values that remember their text. */
import { literalNumber } from "./numbers.js";
import { type JsonArray, JsonObject, type Value } from "./values.js";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

class JsonParser {
  private at = 0;
  constructor(private readonly text: string) {}

  value(): Value {
    switch (this.skip()) {
      case 0x7b:
        return this.object();
      case 0x5b:
        return this.array();
      case QUOTE:
        return this.string();
      case 0x74:
        this.at += 4;
        return true;
      case 0x66:
        this.at += 5;
        return false;
      case 0x6e:
        this.at += 4;
        return null;
      default:
        return this.number();
    }
  }

  /** The first character that is no white space. */
  private skip(): number {
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return unit;
      this.at++;
    }
  }

  private object(): JsonObject {
    const start = this.at++;
    const members = new Map<string, Value>();
    while (this.skip() !== 0x7d) {
      if (this.text.charCodeAt(this.at) === 0x2c) {
        this.at++;
        this.skip();
      }
      const key = this.string();
      this.skip();
      this.at++;
      members.set(key, this.value());
    }
    return new JsonObject(members, this.text.slice(start, ++this.at));
  }

  private array(): JsonArray {
    const start = this.at++;
    const items: Value[] & { text?: string } = [];
    while (this.skip() !== 0x5d) {
      if (this.text.charCodeAt(this.at) === 0x2c) this.at++;
      items.push(this.value());
    }
    items.text = this.text.slice(start, ++this.at);
    return items;
  }

  private string(): string {
    const start = this.at++;
    let escaped = false;
    for (;;) {
      const unit = this.text.charCodeAt(this.at++);
      if (unit === QUOTE) break;
      if (unit === BACKSLASH) {
        escaped = true;
        this.at++;
      }
    }
    return escaped ? (JSON.parse(this.text.slice(start, this.at)) as string) : this.text.slice(start + 1, this.at - 1);
  }

  private number(): Value {
    const start = this.at;
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      const isPart =
        (unit >= 0x30 && unit <= 0x39) ||
        unit === 0x2d ||
        unit === 0x2b ||
        unit === 0x2e ||
        unit === 0x65 ||
        unit === 0x45;
      if (!isPart) break;
      this.at++;
    }
    return literalNumber(this.text.slice(start, this.at));
  }
}

/** `text` is one valid JSON value. */
export function parseJsonText(text: string): Value {
  return new JsonParser(text).value();
}

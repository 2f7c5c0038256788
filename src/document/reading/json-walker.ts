/** Walks through a document's structure: objects key by key, small values whole, large ones skipped. */
import { StorageError } from "../../errors.js";
import type { ByteWindow } from "./byte-window.js";
import { CLOSE_OBJECT, COLON, COMMA, JsonSyntaxError, OPEN_OBJECT, QUOTE } from "./json-scanner.js";
import { beyondLimit, HEADER_VALUE_BYTES, NAME_BYTES, NAMES, shownName } from "./limits.js";
import { ValueSkipper } from "./value-skipper.js";

export class JsonWalker {
  private readonly skipper: ValueSkipper;

  constructor(readonly window: ByteWindow) {
    this.skipper = new ValueSkipper(window.scanner);
  }

  /** Moves to the next byte that is no white space and returns it; -1 at the end. */
  async peek(): Promise<number> {
    const { window } = this;
    for (;;) {
      window.position = window.scanner.skipSpace(window.position);
      if (window.position < window.limit) return window.buffer[window.position] as number;
      if (window.final) return -1;
      await window.more();
    }
  }

  /** The same; E_DOCUMENT_TRUNCATED at the end. */
  async need(): Promise<number> {
    const byte = await this.peek();
    if (byte === -1) throw this.window.truncated();
    return byte;
  }

  /** A syntax error at the current position. */
  syntaxError(expectation: string): JsonSyntaxError {
    return new JsonSyntaxError(this.window.position, expectation);
  }

  /**
   * The keys of the object at the current position, each with the position at its value, which the caller consumes
   * before it asks for the next. E_DOCUMENT_DUPLICATE, E_DOCUMENT_LIMIT; `place` names the object in messages.
   */
  async *keys(place: string): AsyncGenerator<string, void, undefined> {
    const seen = new Set<string>();
    this.window.position++;
    let first = true;
    for (;;) {
      let byte = await this.need();
      if (!first && byte !== COMMA && byte !== CLOSE_OBJECT) throw this.syntaxError("expected `,` or `}`");
      if (byte === CLOSE_OBJECT) {
        this.window.position++;
        return;
      }
      if (!first) {
        this.window.position++;
        byte = await this.need();
      }
      if (byte !== QUOTE) throw this.syntaxError("expected a key");
      first = false;
      const key = (await this.readValue(NAME_BYTES, `a key of ${place}`)) as string;
      if (seen.has(key)) {
        const { line, column } = this.window.locate(this.window.position);
        throw new StorageError("E_DOCUMENT_DUPLICATE", `${shownName(key)} stands twice in ${place}`, {
          detail: `the second ends at line ${line} column ${column}`,
        });
      }
      seen.add(key);
      if (seen.size > NAMES) throw beyondLimit(`${place} has more than ${NAMES} keys`);
      if ((await this.need()) !== COLON) throw this.syntaxError("expected `:`");
      this.window.position++;
      await this.need();
      yield key;
    }
  }

  /** The value at the current position, parsed; it is held whole. E_DOCUMENT_LIMIT beyond `bytes`. */
  async readValue(bytes = HEADER_VALUE_BYTES, what = "a value of the header"): Promise<unknown> {
    const end = await this.valueEnd(bytes, what);
    const { window } = this;
    const text = window.buffer.toString("utf8", window.position, end);
    window.position = end;
    return JSON.parse(text);
  }

  /** The index behind the value at the current position; all of it is in the window then. */
  async valueEnd(bytes = Number.POSITIVE_INFINITY, what = ""): Promise<number> {
    const { window, skipper } = this;
    for (;;) {
      skipper.start();
      const end = skipper.run(window.position);
      if ((skipper.done ? end : window.limit) - window.position > bytes)
        throw beyondLimit(`${what} is longer than ${bytes} bytes`);
      if (skipper.done) return end;
      await this.more();
    }
  }

  /** Skips the value at the current position without holding it; returns how many elements it has at its first level. */
  async skipValue(): Promise<number> {
    this.skipper.start();
    return this.runSkipper();
  }

  /** Skips the rest of an array, the position being behind one of its elements; returns how many more it has. */
  async skipRestOfArray(): Promise<number> {
    this.skipper.startInArray();
    return this.runSkipper();
  }

  private async runSkipper(): Promise<number> {
    const { window, skipper } = this;
    for (;;) {
      window.position = skipper.run(window.position);
      if (skipper.done) return skipper.elements;
      await this.more();
    }
  }

  /** True when the position is at an object; null is consumed and gives false. E_DOCUMENT_SHAPE for anything else. */
  async enterObject(place: string): Promise<boolean> {
    if ((await this.need()) === OPEN_OBJECT) return true;
    await this.skipNull(`${place} is no object`);
    return false;
  }

  /** Consumes null; E_DOCUMENT_SHAPE with `message` for any other value. */
  async skipNull(message: string): Promise<void> {
    const { window } = this;
    const isNull = window.buffer[window.position] === 0x6e;
    const { line, column } = window.locate(window.position);
    await this.skipValue();
    if (!isNull) throw new StorageError("E_DOCUMENT_SHAPE", message, { detail: `at line ${line} column ${column}` });
  }

  /** More bytes; E_DOCUMENT_TRUNCATED where there are none. */
  async more(): Promise<void> {
    if (this.window.final) throw this.window.truncated();
    await this.window.more();
  }
}

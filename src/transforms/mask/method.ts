/** What a mask makes of a value, by the field's type. */
import { createHmac } from "node:crypto";
import type { ByteWriter } from "../../codecs/byte-writer.js";
import { idText } from "../../codecs/uuid.js";
import { StorageError } from "../../errors.js";
import type { MaskedField } from "./path.js";

export const DEFAULT_KEY_VARIABLE = "LLMSPELL_MASK_KEY";
const REDACTED = "[redacted]";
/** Characters of a hash below which two values could meet: 128 bits. */
const LEAST_HASH = 32;
/** 64 bits are enough to tell the addresses of one store apart. */
const EMAIL_HASH = 16;
const EMAIL_DOMAIN = "@example.invalid";

export interface Method {
  readonly name: "redact" | "null" | "hash" | "email";
  /** HMAC-SHA-256 under the key; not of `redact` and `null`. */
  digest(text: string | Buffer): Buffer;
}

/** Appends what a value (canonical bytes) becomes; false: it becomes NULL. */
export type ValueMask = (source: Buffer, start: number, length: number, out: ByteWriter) => boolean;
/** Appends the token that a JSON value becomes. */
export type TokenMask = (source: Buffer, start: number, end: number, out: ByteWriter) => void;

/** `redact`, `null`, `hash`, `hash:KEYENV`, `email`, `email:KEYENV`. E_USAGE; E_CONFIG without a key. */
export function parseMethod(text: string, environment: Readonly<Record<string, string | undefined>>): Method {
  const [, name, variable] = /^(redact|null|hash|email)(?::(\w+))?$/.exec(text) ?? [];
  if (name === undefined || (variable !== undefined && name !== "hash" && name !== "email")) {
    throw new StorageError("E_USAGE", `--mask: unknown method: ${text}`, {
      hint: "The methods are redact, null, hash, hash:KEYENV, email and email:KEYENV.",
    });
  }
  const digest = name === "redact" || name === "null" ? () => Buffer.alloc(0) : keyed(variable, environment);
  return { name: name as Method["name"], digest };
}

function keyed(
  variable: string = DEFAULT_KEY_VARIABLE,
  environment: Readonly<Record<string, string | undefined>>,
): Method["digest"] {
  const key = environment[variable];
  // Without a key whoever can guess a value could check the guess.
  if (key === undefined || key === "") {
    throw new StorageError("E_CONFIG", `--mask: the environment variable ${variable}, the key of hashes, is not set`, {
      hint: "Give it a long random text, and the same one wherever hashes are to agree.",
    });
  }
  return (text) => createHmac("sha256", key).update(text).digest();
}

/** The mask of a field as a whole. E_USAGE where the method cannot be used. */
export function createValueMask({ kind, field, within }: MaskedField, method: Method): ValueMask {
  const { type, maxLength = Number.POSITIVE_INFINITY, min = 0 } = field;
  const place = `${kind.path}.${field.name}`;
  const refuse = (why: string, hint?: string): never => {
    const context = hint === undefined ? {} : { hint };
    throw new StorageError("E_USAGE", `--mask ${place}: ${method.name} cannot be used: ${why}`, context);
  };
  if (within.length > 0) refuse(`a ${type} field has nothing inside`);
  if (field.large) refuse("content is known by its hash and its size", "Leave records out with --exclude or --jq.");
  if (field.constant !== undefined || kind.postgres.largeObject?.typeField === field.name)
    refuse("the value follows from others");
  if (field.oneOf !== undefined) refuse(`the field holds one of ${field.oneOf.join(", ")}`);
  if (type === "vector") refuse("an embedding has no form without its meaning");
  if (method.name === "redact" || method.name === "null") {
    const named = [kind.key, ...kind.uniqueKeys, ...kind.foreignKeys.map(({ fields }) => fields)].flat();
    if (named.includes(field.name) || field.refersTo !== undefined)
      refuse("the field tells records apart", "hash keeps them apart.");
  }
  if (method.name === "null") {
    if (!field.nullable) refuse("the field is never null");
    return () => false;
  }
  if (method.name === "redact") {
    switch (type) {
      case "text":
        return write((out) => out.latin1(REDACTED.slice(0, maxLength)));
      case "uuid":
        return write((out) => out.copy(Buffer.alloc(16), 0, 16));
      case "int4":
        return write((out) => out.int32(Math.max(0, min)));
      case "int8":
        return write((out) => out.int64(BigInt(Math.max(0, min))));
      case "bool":
        return write((out) => out.byte(0));
      case "bytes":
        return write(() => {});
      case "text_array":
        return write((out) => out.latin1("[]"));
      case "timestamp":
        return refuse("a time has no value that says nothing", field.nullable ? "null can." : undefined);
      case "json":
        break;
    }
  }
  if (type === "json") {
    const token = createTokenMask(method);
    return (source, start, length, out) => {
      token(source, start, start + length, out);
      return true;
    };
  }
  if (method.name === "hash" && type === "uuid") {
    return (source, start, length, out) => {
      const digest = method.digest(idText(source, start, length));
      // Version 8, RFC 9562: bits of one's own.
      digest[6] = ((digest[6] as number) & 0x0f) | 0x80;
      digest[8] = ((digest[8] as number) & 0x3f) | 0x80;
      out.copy(digest, 0, 16);
      return true;
    };
  }
  if (type !== "text") refuse(`it is for text${method.name === "hash" ? ", uuid" : ""} and json fields`);
  const needed = method.name === "hash" ? LEAST_HASH : EMAIL_HASH + EMAIL_DOMAIN.length;
  if (maxLength < needed) refuse(`the field holds ${maxLength} characters, and it needs ${needed}`);
  return (source, start, length, out) => {
    out.latin1(hashText(method, source.subarray(start, start + length)).slice(0, maxLength));
    return true;
  };
}

function write(append: (out: ByteWriter) => void): ValueMask {
  return (_source, _start, _length, out) => {
    append(out);
    return true;
  };
}

function hashText(method: Method, text: string | Buffer): string {
  const hex = method.digest(text).toString("hex");
  return method.name === "email" ? hex.slice(0, EMAIL_HASH) + EMAIL_DOMAIN : hex;
}

/** The mask of a value inside JSON: null stays null; `redact` keeps the type, `hash` and `email` give a string. */
export function createTokenMask(method: Method): TokenMask {
  return (source, start, end, out) => {
    const first = source[start];
    if (method.name === "null" || first === 0x6e) out.latin1("null");
    else if (method.name === "redact") out.latin1(redactedToken(first as number));
    else {
      const token = source.toString("utf8", start, end);
      // A string counts as its text, so that it gives the hash that a text field gives.
      out.latin1(`"${hashText(method, first === 0x22 ? (JSON.parse(token) as string) : token)}"`);
    }
  };
}

function redactedToken(first: number): string {
  switch (first) {
    case 0x22:
      return `"${REDACTED}"`;
    case 0x7b:
      return "{}";
    case 0x5b:
      return "[]";
    case 0x74:
    case 0x66:
      return "false";
    default:
      return "0";
  }
}

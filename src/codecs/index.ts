import type { Field, FieldType } from "../catalog/index.js";
import { bytesCodec } from "./bytes.js";
import type { Codec } from "./codec.js";
import { boolCodec, int4Codec, int8Codec } from "./int64.js";
import { jsonCodec } from "./json-text.js";
import { textCodec } from "./text.js";
import { textArrayCodec } from "./text-array.js";
import { timestampCodec } from "./timestamp.js";
import { uuidCodec } from "./uuid.js";
import { vectorCodec } from "./vector.js";

export type { Codec, SqliteForm, SqliteParam, SqliteValue, TokenDialect } from "./codec.js";
export { located } from "./codec.js";

/** The codec of each field type. */
export const codecs: Readonly<Record<FieldType, Codec>> = {
  text: textCodec,
  uuid: uuidCodec,
  int4: int4Codec,
  int8: int8Codec,
  bool: boolCodec,
  timestamp: timestampCodec,
  json: jsonCodec,
  bytes: bytesCodec,
  vector: vectorCodec,
  text_array: textArrayCodec,
};

/** The codec of a field; to be asked for once per column, not per value. */
export function codecOf({ type }: Pick<Field, "type">): Codec {
  return codecs[type];
}

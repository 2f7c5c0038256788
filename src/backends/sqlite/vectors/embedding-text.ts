/** Embeddings in ordinary tables as llmspell reads them: it takes what begins with '[' for the text of a JSON array. */
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { writeVectorNumbers } from "../../../codecs/vector-numbers.js";

/** 1 float32 vector in 256 begins with it. */
const LEFT_BRACKET = 0x5b;
/** Of a number in JSON, with its comma, nearly always. */
const NUMBER_BYTES = 14;

/**
 * What is stored of float32 values: themselves, or text that gives the same bits back where they begin with '['; undefined
 * where they do and JSON has no number for one of them.
 */
export function storedEmbedding(values: Buffer): Buffer | undefined {
  if (values[0] !== LEFT_BRACKET) return values;
  const text = new ByteWriter((values.length / 4) * NUMBER_BYTES);
  if (!writeVectorNumbers(values, 0, values.length, text)) return undefined;
  return Buffer.from(text.bytes.subarray(0, text.length));
}

/** For embeddings that were written as they are all the same. */
export function unreadableEmbeddings(count: number): string {
  const [those, hold] = count === 1 ? ["embedding that begins", "holds"] : ["embeddings that begin", "hold"];
  return `llmspell will fail on ${count} ${those} with the byte of "[" and ${hold} NaN or Infinity: it takes such bytes for JSON, which has no number for these`;
}

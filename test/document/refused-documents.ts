/** Documents that no import reads, and why. */
import type { ErrorCode } from "../../src/errors.js";

export const head = '"version":"1.0","source_backend":"postgresql","producer":"p","migrations":["V1"]';
export const kvRecord =
  '{"kv_id":"00000000-0000-0000-0000-000000000001","tenant_id":"t","key":"k","value":"AA==","created_at":0,"updated_at":0}';

export function document(data: string): Buffer {
  return Buffer.from(`{${head},"data":${data}}`, "utf8");
}

export function kv(change: (record: string) => string): Buffer {
  return document(`{"kv_store":[${change(kvRecord)}]}`);
}

export const cases: [what: string, text: string | Buffer, code: ErrorCode, detail?: string][] = [
  ["empty", "", "E_DOCUMENT_TRUNCATED"],
  ["only white space", " \n", "E_DOCUMENT_TRUNCATED"],
  ["HTML", "<html>", "E_DOCUMENT_PARSE", "the input is a web page, not an export document"],
  ["an array", "[]", "E_DOCUMENT_SHAPE"],
  ["a string", '"x"', "E_DOCUMENT_SHAPE"],
  ["UTF-16", Buffer.from("\ufeff{}", "utf16le"), "E_INVALID_UTF8", "the input is UTF-16 text, not an"],
  ["no version", `{"data":{},"source_backend":"sqlite"}`, "E_DOCUMENT_VERSION"],
  ["version 2.0", `{"version":"2.0","data":{}}`, "E_DOCUMENT_VERSION"],
  ["version 2.0 behind the data", `{"data":{"kv_store":[${kvRecord}]},"version":"2.0"}`, "E_DOCUMENT_VERSION"],
  ["a version that is a number", `{"version":1.0,"data":{}}`, "E_DOCUMENT_VERSION"],
  ["no source_backend", `{"version":"1.0","data":{}}`, "E_DOCUMENT_SHAPE"],
  ["another backend", `{"version":"1.0","source_backend":"mysql","data":{}}`, "E_DOCUMENT_SHAPE"],
  ["no data", `{${head}}`, "E_DOCUMENT_SHAPE"],
  ["migrations of numbers", `{"version":"1.0","migrations":[1],"data":{}}`, "E_DOCUMENT_SHAPE"],
  ["data that is an array", `{${head},"data":[]}`, "E_DOCUMENT_SHAPE"],
  ["two documents", Buffer.concat([kv(String), kv(String)]), "E_DOCUMENT_TRAILING"],
  ["something behind it", `{${head},"data":{}}\nx`, "E_DOCUMENT_TRAILING", "at line 2 column 1"],
  ["data twice", `{${head},"data":{},"data":{}}`, "E_DOCUMENT_DUPLICATE"],
  ["version twice", `{${head},"version":"1.0","data":{}}`, "E_DOCUMENT_DUPLICATE"],
  ["a section twice", document('{"kv_store":[],"kv_store":[]}'), "E_DOCUMENT_DUPLICATE"],
  ["an escaped section twice", document('{"kv_store":[],"kv_stor\\u0065":[]}'), "E_DOCUMENT_DUPLICATE"],
  ["an array twice", document('{"artifacts":{"content":[],"content":[]}}'), "E_DOCUMENT_DUPLICATE"],
  ["a section that is an object", document('{"kv_store":{}}'), "E_DOCUMENT_SHAPE"],
  ["a section that is a string", document('{"sessions":"[]"}'), "E_DOCUMENT_SHAPE"],
  ["a group that is an array", document('{"artifacts":[]}'), "E_DOCUMENT_SHAPE"],
  ["no comma between records", document(`{"kv_store":[${kvRecord}\n${kvRecord}]}`), "E_DOCUMENT_PARSE"],
  ["a comma at the end", document(`{"kv_store":[${kvRecord},]}`), "E_DOCUMENT_PARSE"],
  ["a comma at the beginning", document(`{"kv_store":[,${kvRecord}]}`), "E_DOCUMENT_PARSE"],
  ["a comma alone", document('{"kv_store":[,]}'), "E_DOCUMENT_PARSE"],
  ["no colon", document('{"kv_store"[]}'), "E_DOCUMENT_PARSE", "expected `:`"],
  ["a bad number in an unknown section", document('{"more":[01]}'), "E_DOCUMENT_PARSE"],
  ["invalid UTF-8 in a string", Buffer.from(kv(String)).fill(0xff, 150, 151), "E_INVALID_UTF8"],
];

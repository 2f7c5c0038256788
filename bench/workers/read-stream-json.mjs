// node read-stream-json.mjs DOCUMENT DEPTH: the records, DEPTH keys below the root, by stream-json's functional pipeline over
// its own file reader, which its documentation calls the fastest; prints how many there were.
import { pipe } from "stream-chain/utils/pipe.js";
import { parseFile } from "stream-json/file/parser.js";
import { pick } from "stream-json/filters/pick.js";
import { streamValues } from "stream-json/streamers/stream-values.js";

const [path, depth] = process.argv.slice(2);
const length = Number(depth);
const isRecord = (stack) => stack.length === length && stack[0] === "data" && typeof stack[length - 1] === "number";
// Whole keys and strings only: the assembler has no use for their pieces.
const options = { packValues: true, streamValues: false, readBlockSize: 262144 };
let records = 0;
for await (const { value } of pipe(parseFile(options), pick({ filter: isRecord }), streamValues())(path))
  if (value !== undefined) records++;
console.log(records);

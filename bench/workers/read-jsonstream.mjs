// node read-jsonstream.mjs DOCUMENT DEPTH: the records, DEPTH keys below the root, by JSONStream; prints how many there were.

import JSONStream from "JSONStream";
import { createReadStream } from "node:fs";

const [path, depth] = process.argv.slice(2);
const pattern = ["data", ...Array.from({ length: Number(depth) - 1 }, () => true)];
let records = 0;
createReadStream(path, { highWaterMark: 262144 })
  .pipe(JSONStream.parse(pattern))
  .on("data", () => records++)
  .on("error", (error) => {
    throw error;
  })
  .on("end", () => console.log(records));

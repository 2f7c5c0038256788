// node slow-network.mjs HOST PORT BYTES: a way to a server on which each connection carries BYTES a second in either direction.
// Prints its own port.
import { connect, createServer } from "node:net";
import { Transform } from "node:stream";

const [host, port, rate] = process.argv.slice(2);
/** Larger pieces would come in jerks. */
const PIECE = 16384;

function limited() {
  let due = 0;
  return new Transform({
    highWaterMark: PIECE,
    transform(chunk, _, done) {
      due = Math.max(performance.now(), due) + (chunk.length / Number(rate)) * 1000;
      setTimeout(() => done(null, chunk), due - performance.now());
    },
  });
}

createServer({ noDelay: true }, (client) => {
  const server = connect({ port: Number(port), host, noDelay: true });
  for (const [one, other] of [
    [client, server],
    [server, client],
  ]) {
    one.on("error", () => {});
    one.on("close", () => other.destroy());
    one.pipe(limited()).pipe(other);
  }
}).listen(0, "127.0.0.1", function () {
  console.log(this.address().port);
});

import { createServer, connect as dial, type Server } from "node:net";

/** A proxy for a server that knows no COPY: the statement's first word is spoilt on its way. */
export async function refusingCopy(url: string, refused: { copies: number }): Promise<Server> {
  const target = new URL(url);
  const server = createServer((socket) => {
    const upstream = dial(Number(target.port), target.hostname);
    socket.on("data", (chunk) => {
      const at = chunk.indexOf("COPY ");
      if (at !== -1) {
        refused.copies++;
        chunk.write("KOPY ", at);
      }
      upstream.write(chunk);
    });
    upstream.pipe(socket);
    socket.on("end", () => upstream.end());
    socket.on("error", () => upstream.destroy());
    upstream.on("error", () => socket.destroy());
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return server;
}

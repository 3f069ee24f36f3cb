// Stands for Lambda's runtime: one event at a time, a line of JSON in and one out, over a socket of benchmarks/aws.py.
import { createConnection } from "node:net";
import { createInterface } from "node:readline";

import { handler } from "./handlers.js";

const handle = await handler(process.argv[2]);
const socket = createConnection({ host: "127.0.0.1", port: Number(process.env.BENCH_PORT) });
socket.setNoDelay(true);
for await (const line of createInterface({ input: socket })) {
  const answer = await handle(JSON.parse(line), { getRemainingTimeInMillis: () => 29000 });
  socket.write(`${JSON.stringify(answer)}\n`);
}

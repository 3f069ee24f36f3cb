// The same code as functions of Lambda: the API behind serverless-http, the worker on an SQS mapping. Each loads its own part.
export async function handler(name) {
  if (name === "api") {
    const [{ default: serverless }, { app }] = await Promise.all([import("serverless-http"), import("./app.js")]);
    return serverless(app);
  }
  return (await import("./worker.js")).work;
}

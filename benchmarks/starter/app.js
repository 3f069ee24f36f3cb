// POST /payments and GET /payments/:id in the plain way: look for the key, write the payment, write the key, send a message.
// Four calls, one after the other, each of which may be the last one that happens.
import { randomUUID } from "node:crypto";

import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import express from "express";

import { KEYS, QUEUE, TRANSACTIONS, db, sqs } from "./clients.js";

export const app = express();
app.disable("x-powered-by");
app.use(express.json({ limit: "50kb" }));

app.post("/payments", async (req, res) => {
  const { amount, currency = "INR", paymentMethod, clientId, metadata } = req.body ?? {};
  if (!Number.isInteger(amount) || amount <= 0 || typeof paymentMethod !== "string") {
    return res.status(400).json({ error: "amount and paymentMethod are required" });
  }
  const idempotencyKey = req.get("idempotency-key") ?? req.body.idempotencyKey;
  if (!idempotencyKey) {
    return res.status(400).json({ error: "an Idempotency-Key is required" });
  }

  const known = await db.send(new GetCommand({ TableName: KEYS, Key: { idempotencyKey } }));
  if (known.Item) {
    return res.status(202).json({ transactionId: known.Item.transactionId, status: known.Item.status });
  }

  const now = new Date().toISOString();
  const transactionId = randomUUID();
  const transaction = {
    transactionId,
    clientId,
    amount,
    currency,
    paymentMethod,
    metadata,
    idempotencyKey,
    status: "PENDING",
    attempts: 0,
    createdAt: now,
    updatedAt: now,
  };
  await db.send(new PutCommand({ TableName: TRANSACTIONS, Item: transaction }));
  await db.send(
    new PutCommand({
      TableName: KEYS,
      Item: { idempotencyKey, transactionId, status: "PENDING", createdAt: now, updatedAt: now },
    }),
  );
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: QUEUE,
      MessageBody: JSON.stringify({ transactionId, amount, currency, paymentMethod }),
    }),
  );
  return res.status(202).json({ transactionId, status: "PENDING" });
});

app.get("/payments/:id", async (req, res) => {
  const found = await db.send(new GetCommand({ TableName: TRANSACTIONS, Key: { transactionId: req.params.id } }));
  return found.Item ? res.json(found.Item) : res.status(404).json({ error: "not_found" });
});

app.get("/livez", (_req, res) => res.json({ status: "ok" }));

app.use((error, _req, res, _next) => {
  console.error(error);
  res.status(500).json({ error: "internal_server_error" });
});

// What is done with a message: charge the provider, write down what it said. All messages of a batch at once.
import { UpdateCommand } from "@aws-sdk/lib-dynamodb";

import { TRANSACTIONS, db } from "./clients.js";

const PROVIDER = process.env.PROVIDER_URL;
const TIMEOUT_MS = 7000;

async function settle({ transactionId, amount, currency, paymentMethod }) {
  const answer = await fetch(`${PROVIDER}/charges`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: "Bearer bench",
      "idempotency-key": transactionId,
    },
    body: JSON.stringify({ amount, currency, reference: transactionId, source: paymentMethod }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const said = await answer.json();
  if (answer.status >= 500) {
    throw new Error(`the provider answered ${answer.status}`); // the message comes back
  }
  await db.send(
    new UpdateCommand({
      TableName: TRANSACTIONS,
      Key: { transactionId },
      UpdateExpression: "SET #status = :status, providerRef = :ref, lastError = :error, updatedAt = :now ADD attempts :one",
      ExpressionAttributeNames: { "#status": "status" },
      ExpressionAttributeValues: {
        ":status": answer.ok ? "SUCCESS" : "FAILED",
        ":ref": said.id ?? null,
        ":error": said.error?.decline_code ?? null,
        ":now": new Date().toISOString(),
        ":one": 1,
      },
    }),
  );
}

// An event of an SQS mapping with ReportBatchItemFailures.
export async function work(event) {
  const failed = [];
  await Promise.all(
    event.Records.map(async (record) => {
      try {
        await settle(JSON.parse(record.body));
      } catch (error) {
        console.error(error);
        failed.push({ itemIdentifier: record.messageId });
      }
    }),
  );
  return { batchItemFailures: failed };
}

// The clients of AWS, as the SDK's guide has them: made once, connections kept alive (the default).
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { SQSClient } from "@aws-sdk/client-sqs";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

const endpoint = process.env.AWS_ENDPOINT_URL;
const region = process.env.AWS_REGION ?? "us-east-1";

export const TRANSACTIONS = process.env.TRAN_TABLE ?? "Transactions";
export const KEYS = process.env.IDEM_TABLE ?? "Idempotency";
export const QUEUE = process.env.SQS_QUEUE_URL;

export const db = DynamoDBDocumentClient.from(new DynamoDBClient({ endpoint, region }), {
  marshallOptions: { removeUndefinedValues: true },
});
export const sqs = new SQSClient({ endpoint, region });

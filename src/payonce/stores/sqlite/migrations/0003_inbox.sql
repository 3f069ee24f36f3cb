-- Webhooks that were heard, each stored once: hints about payments, beside the chain. Their due times are in table due
-- under the kind 'webhook'. The document comes last, so that a listing need not read it.
CREATE TABLE inbox (
    id          TEXT    NOT NULL PRIMARY KEY, -- derived from account and event
    account     TEXT    NOT NULL,
    event       TEXT    NOT NULL, -- the vendor's identity of it
    kind        TEXT    NOT NULL, -- the vendor's word
    state       TEXT    NOT NULL, -- new, matched, parked, unmatched
    payment_ids TEXT    NOT NULL, -- with spaces between
    tries       INTEGER NOT NULL, -- how often its payment was looked for in vain
    version     INTEGER NOT NULL, -- of what settling changes; deliveries do not count
    received_us INTEGER NOT NULL, -- the first delivery
    last_us     INTEGER NOT NULL, -- the newest one
    deliveries  INTEGER NOT NULL,
    document    BLOB    NOT NULL, -- JSON: our references, the vendor's ids, headers that matter
    body        BLOB    NOT NULL  -- as it came, card numbers masked
) STRICT;
CREATE INDEX inbox_newest ON inbox (received_us, id);
CREATE INDEX inbox_state ON inbox (state, received_us, id);
CREATE INDEX inbox_account ON inbox (account, received_us, id);

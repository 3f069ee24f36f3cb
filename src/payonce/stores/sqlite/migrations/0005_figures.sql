-- Counted figures, in the transaction that writes what they count: sums for each minute, hour and day of a merchant and mode.
-- Nothing is decided by them, and losing them costs a chart. Rows of minutes are removed after two days.
CREATE TABLE tallies (
    merchant_id TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    span        TEXT    NOT NULL, -- minute, hour, day
    at_us       INTEGER NOT NULL, -- when it begins
    what        TEXT    NOT NULL, -- accepted, settled, settle_ms, call, call_ms, declined; see figures.py
    account     TEXT    NOT NULL,
    currency    TEXT    NOT NULL,
    which       TEXT    NOT NULL, -- the status, of 'settled'; else ''
    n           INTEGER NOT NULL,
    minor       INTEGER NOT NULL, -- sum of amounts
    parts       TEXT    NOT NULL, -- JSON: n by bucket, outcome or decline code; '' where there is no such part
    PRIMARY KEY (merchant_id, mode, span, at_us, what, account, currency, which)
) STRICT, WITHOUT ROWID;

-- From when on everything is counted, and found by metadata and decline code; 0 = all. One row.
CREATE TABLE counting (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    since_us INTEGER NOT NULL
) STRICT;

-- Payments by the values of their metadata, newest first when read backwards. Only a digest: a value may be long, and is
-- the customer's.
CREATE TABLE labels (
    merchant_id TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    label       BLOB    NOT NULL, -- the first 16 bytes of the SHA-256 of the value as text
    created_us  INTEGER NOT NULL, -- of the payment
    payment_id  TEXT    NOT NULL,
    PRIMARY KEY (merchant_id, mode, label, created_us, payment_id)
) STRICT, WITHOUT ROWID;

-- Payments by the codes with which an attempt of theirs was declined.
CREATE TABLE declines (
    merchant_id TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    code        TEXT    NOT NULL,
    created_us  INTEGER NOT NULL, -- of the payment
    payment_id  TEXT    NOT NULL,
    PRIMARY KEY (merchant_id, mode, code, created_us, payment_id)
) STRICT, WITHOUT ROWID;

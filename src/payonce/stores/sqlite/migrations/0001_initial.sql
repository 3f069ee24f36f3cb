-- The source of truth. The history (events) *is* the payment, its row is the fold; see docs/architecture.md.
-- Times are microseconds since 1970 (_us), amounts are minor units (_minor). Never edit a migration that was released.

-- A rowid table: documents are too long for the leaves of an index.
CREATE TABLE payments (
    id               TEXT    NOT NULL PRIMARY KEY,
    merchant_id      TEXT    NOT NULL,
    mode             TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    provider         TEXT    NOT NULL, -- account of the winner, else of the youngest attempt, else ''
    currency         TEXT    NOT NULL,
    client_id        TEXT    NOT NULL,
    amount_minor     INTEGER NOT NULL,
    authorized_minor INTEGER NOT NULL,
    captured_minor   INTEGER NOT NULL,
    refunded_minor   INTEGER NOT NULL,
    attention        TEXT    NOT NULL,
    created_us       INTEGER NOT NULL,
    updated_us       INTEGER NOT NULL,
    version          INTEGER NOT NULL, -- seq of the last event
    head             TEXT    NOT NULL, -- hash of the last event
    schema           INTEGER NOT NULL, -- of the document; an older payonce touches nothing newer than itself
    document         BLOB    NOT NULL  -- JSON of the payment
) STRICT;

-- One index per filter, newest first; reading them backwards gives the order of the listing.
CREATE INDEX payments_newest ON payments (merchant_id, mode, created_us, id);
CREATE INDEX payments_status ON payments (merchant_id, mode, status, created_us, id);
CREATE INDEX payments_provider ON payments (merchant_id, mode, provider, created_us, id) WHERE provider != '';
CREATE INDEX payments_currency ON payments (merchant_id, mode, currency, created_us, id);
CREATE INDEX payments_client ON payments (merchant_id, mode, client_id, created_us, id) WHERE client_id != '';
CREATE INDEX payments_attention ON payments (merchant_id, mode, created_us, id)
    WHERE status = 'IN_DOUBT' OR attention != '';

-- A rowid table: new events of all payments go to its end, so that one group commit writes few pages.
CREATE TABLE events (
    payment_id TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    raw        BLOB    NOT NULL, -- the exact bytes that were hashed
    hash       TEXT    NOT NULL,
    PRIMARY KEY (payment_id, seq)
) STRICT;

CREATE TABLE keys (
    merchant_id TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    payment_id  TEXT    NOT NULL,
    request_v   INTEGER NOT NULL,
    request     BLOB    NOT NULL,
    PRIMARY KEY (merchant_id, mode, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE refs (
    value      TEXT NOT NULL,
    account    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    PRIMARY KEY (value, account, kind, payment_id)
) STRICT, WITHOUT ROWID;

-- Beside the chain, which holds the digests: may be erased.
CREATE TABLE bodies (
    payment_id TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    bytes      BLOB NOT NULL,
    PRIMARY KEY (payment_id, sha256)
) STRICT;

-- Lease and schedule in one: (kind, id) is due at due_us. Kind 'payment' today.
CREATE TABLE due (
    kind   TEXT    NOT NULL,
    id     TEXT    NOT NULL,
    due_us INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX due_first ON due (kind, due_us, id);

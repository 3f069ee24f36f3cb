-- Where the public events of a merchant and mode stand in the order of the writes: one row for each event of the history
-- that holds news. Written with the event, never changed or removed: places of a feed go 1, 2, 3 without a gap, so that who
-- believes to know the last one is wrong only if the next one is taken. at_us never goes back along the places of one feed:
-- it is the latest time of the events so far, so that a time finds its first place by halving.
CREATE TABLE feed (
    payment_id  TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    merchant_id TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    at_us       INTEGER NOT NULL,
    place       INTEGER NOT NULL, -- from 1, in each feed
    PRIMARY KEY (merchant_id, mode, place)
) STRICT, WITHOUT ROWID;

-- Its place in the feed of its payment's merchant and mode; 0: it holds no news; NULL: an older payonce wrote it, also one that
-- was still at work beside a newer one, and did not know of the feed.
ALTER TABLE events ADD COLUMN news INTEGER;

-- Payments with news that somebody is subscribed to and that were not turned into deliveries yet.
CREATE TABLE notices (
    payment_id TEXT    NOT NULL PRIMARY KEY,
    from_seq   INTEGER NOT NULL, -- the first event that the notice is about
    due_us     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_first ON notices (due_us, payment_id);

-- Public events on their way to endpoints. Their due times are in table due under the kind 'delivery'.
CREATE TABLE deliveries (
    id          TEXT    NOT NULL PRIMARY KEY, -- derived from endpoint and event
    endpoint_id TEXT    NOT NULL,
    merchant_id TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    event_id    TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    payment_id  TEXT    NOT NULL, -- '' and seq 0: of no payment
    seq         INTEGER NOT NULL,
    state       TEXT    NOT NULL, -- pending, delivered, failed, canceled
    tries       INTEGER NOT NULL,
    status      INTEGER NOT NULL, -- HTTP status of the last answer; 0 = none
    said        TEXT    NOT NULL, -- why the last try failed
    created_us  INTEGER NOT NULL,
    last_us     INTEGER NOT NULL, -- of the last try
    version     INTEGER NOT NULL  -- of what settling changes
) STRICT;
-- A listing of all states merges one ordered walk for each, so that one index serves it with and without a state.
CREATE INDEX deliveries_scope ON deliveries (merchant_id, mode, state, created_us, id);
CREATE INDEX deliveries_endpoint ON deliveries (merchant_id, mode, endpoint_id, state, created_us, id);
CREATE INDEX deliveries_payment ON deliveries (merchant_id, mode, payment_id, created_us, id) WHERE payment_id != '';
CREATE INDEX deliveries_old ON deliveries (state, created_us, id);

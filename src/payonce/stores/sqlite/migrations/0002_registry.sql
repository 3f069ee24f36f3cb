-- What all processes share beside payments: drain switches, breakers. Small, read often, written seldom.
CREATE TABLE registry (
    kind    TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL, -- of the record; goes on after a deletion, so that none stands for two values
    value   BLOB,             -- NULL: deleted
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

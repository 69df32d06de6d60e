-- +goose Up

-- What the pages of a first load, which are copied past all questions, say of records that became others: the losers of merges and
-- converted leads. The end of the load follows them, and does not have to look through the whole table for them.
CREATE TABLE mirror.load_kin (
    load_id            bigint NOT NULL REFERENCES mirror.loads (id) ON DELETE CASCADE,
    sfid               text COLLATE "C" NOT NULL,
    isdeleted          boolean NOT NULL,
    masterrecordid     text COLLATE "C",
    isconverted        boolean NOT NULL,
    convertedcontactid text COLLATE "C"
);
CREATE INDEX load_kin_load ON mirror.load_kin (load_id);

-- +goose Down
DROP TABLE mirror.load_kin;

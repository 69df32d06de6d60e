-- +goose Up

-- What was noted of a claim before creates went out whose reply might get lost: when the first and the last did by the org's clock, as which user, and
-- by which external id, if by one. The settings may be others by the time that somebody looks what became of them.
ALTER TABLE mirror.claims
    ADD COLUMN sent_since timestamptz,
    ADD COLUMN sent_last  timestamptz,
    ADD COLUMN sent_by    text    NOT NULL DEFAULT '',
    ADD COLUMN key_field  text    NOT NULL DEFAULT '',
    ADD COLUMN key_length integer NOT NULL DEFAULT 0;
UPDATE mirror.claims SET sent_since = split_part(step, ' ', 2)::timestamptz, sent_last = split_part(step, ' ', 3)::timestamptz, step = '' WHERE step LIKE 'creating % %';

-- +goose Down
SELECT 1;

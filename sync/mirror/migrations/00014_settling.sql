-- +goose Up

-- Which settled change made the record: its row had none before. It need not be the row's insert, which the admin may not have wanted then.
ALTER TABLE mirror.settled ADD COLUMN made boolean NOT NULL DEFAULT false;

-- +goose Down
SELECT 1;

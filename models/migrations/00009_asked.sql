-- +goose Up

-- Somebody asked for this cycle: it may cost a few calls more than one that came by itself.
ALTER TABLE admin.cycles ADD COLUMN asked boolean NOT NULL DEFAULT false;

-- +goose Down
SELECT 1;

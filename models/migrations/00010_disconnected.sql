-- +goose Up

-- Somebody disconnected: no secret is kept, and the tables go on belonging to the org that the row names.
ALTER TABLE admin.connections DROP CONSTRAINT connections_state_check;
ALTER TABLE admin.connections ADD CONSTRAINT connections_state_check CHECK (state IN ('connected', 'refused', 'not-connected'));

-- +goose Down
SELECT 1;

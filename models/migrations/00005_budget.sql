-- +goose Up

-- The org itself refuses more calls today: what it said, and until when nothing is asked.
ALTER TABLE admin.state
    ADD COLUMN api_refused       text NOT NULL DEFAULT '',
    ADD COLUMN api_refused_until timestamptz;

-- How many calls Tandem made in each hour, for the forecast.
CREATE TABLE admin.api_hours (
    hour  timestamptz PRIMARY KEY,
    calls bigint NOT NULL
);

-- +goose Down
SELECT 1;

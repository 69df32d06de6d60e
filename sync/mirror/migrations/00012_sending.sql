-- +goose Up

-- What others changed in Salesforce while a claim's Bulk job was under way, as far as the sender has looked.
ALTER TABLE mirror.claims ADD COLUMN watch jsonb NOT NULL DEFAULT '{}';

-- Rows that wait for another which Salesforce refused, or which itself waits for such a one: they cannot go before somebody mends
-- that one or drops it. parent_id is the row that was refused.
CREATE VIEW mirror.held_up AS
    WITH RECURSIVE held AS (
        SELECT l.object, l.row_id, l.parent_object, l.parent_id FROM mirror.links l
        WHERE EXISTS (SELECT FROM mirror.outbox o WHERE o.object = l.parent_object AND o.row_id = l.parent_id AND o.state = 'refused')
            AND NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = l.parent_object AND o.row_id = l.parent_id AND o.state <> 'refused')
        UNION
        SELECT l.object, l.row_id, h.parent_object, h.parent_id FROM mirror.links l JOIN held h ON h.object = l.parent_object AND h.row_id = l.parent_id
    )
    SELECT object, row_id, parent_object, parent_id FROM held h
    WHERE EXISTS (SELECT FROM mirror.outbox o WHERE o.object = h.object AND o.row_id = h.row_id AND o.state = 'waiting');

-- Creates that were sent again because their first reply was lost and nothing was found of them: should the org have saved the first one
-- later than it was looked for, there are two. Looked at while it may still come to light.
CREATE TABLE mirror.doubts (
    object   text        NOT NULL,
    row_id   bigint      NOT NULL,
    since    timestamptz NOT NULL, -- by the org's clock, when the first of them was sent
    sent     jsonb       NOT NULL, -- by API name, what was sent
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (object, row_id)
);

-- +goose Down
SELECT 1;

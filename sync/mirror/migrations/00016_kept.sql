-- +goose Up

-- Records that Salesforce deleted and that are alive here, because they wait for a person's yes or were answered with no: what they hold
-- up is explained, but the two sides are not the same.
CREATE OR REPLACE VIEW mirror.last_checks AS
    SELECT DISTINCT ON (c.object) c.object, c.id, c.run_id, c.ended_at AS checked_at, c.here, c.there, c.ranges, c.ranges_differ, c.suspects, c.refreshed, c.explained, c.moving,
        (SELECT count(DISTINCT d.sfid) FROM mirror.differences d WHERE d.object = c.object AND d.mended_at IS NULL) AS differing,
        (SELECT coalesce(sum(r.suspects), 0)::bigint FROM mirror.check_ranges r WHERE r.check_id = c.id) AS unlooked,
        (SELECT count(*) FROM mirror.deletions g WHERE g.object = c.object AND g.state IN ('held', 'declined')) AS kept
    FROM mirror.checks c WHERE c.state = 'done' ORDER BY c.object, c.id DESC;

-- +goose Down
SELECT 1;

package salesforce

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// PinnedVersion is the API version that this client was written and tested for. It is never raised by itself.
const PinnedVersion = "66.0"

// oldestVersion is the lowest that a client falls back to: the first with parallel pages of Bulk results.
const oldestVersion = 58

// parseVersion reads "66.0". Minor versions have never been other than 0.
func parseVersion(s string) (int, error) {
	major, minor, ok := strings.Cut(s, ".")
	n, err := strconv.Atoi(major)
	if !ok || err != nil || minor != "0" || n <= 0 {
		return 0, fmt.Errorf("%q is not an API version like %s", s, PinnedVersion)
	}
	return n, nil
}

// APIVersion gives the version that all other calls use, like "66.0": the pinned one if the org offers it, else the
// highest below it from 58.0 on, else the lowest above it. The org is asked once, without a session.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_versions.htm
func (c *Client) APIVersion(ctx context.Context) (string, error) {
	c.mu.Lock()
	known := c.version
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	token, err := c.session(ctx)
	if err != nil {
		return "", err
	}
	base := token.InstanceURL
	if base == "" {
		base = c.cfg.LoginURL
	}
	const op = "list API versions"
	var offered []struct {
		Version string `json:"version"`
	}
	r := request{op: op, method: http.MethodGet, base: base, path: "/services/data", accept: mediaJSON, again: true}
	if err := c.do(ctx, r, c.into(op, &offered)); err != nil {
		return "", err
	}
	want, _ := parseVersion(c.cfg.Version)
	below, above := 0, 0
	for _, o := range offered {
		switch n, err := parseVersion(o.Version); {
		case err != nil:
		case n <= want && n >= oldestVersion:
			below = max(below, n)
		case n > want && (above == 0 || n < above):
			above = n
		}
	}
	chosen := below
	if chosen == 0 {
		chosen = above
	}
	if chosen == 0 {
		return "", &APIError{
			Op: op, Method: r.method, URL: base + r.path, Code: CodeUnsupportedVersion,
			Message: fmt.Sprintf("the org offers no API version from %d.0 on", oldestVersion),
		}
	}
	version := strconv.Itoa(chosen) + ".0"
	if version != c.cfg.Version {
		c.cfg.Log.Warn("the org does not offer the pinned API version", "pinned", c.cfg.Version, "used", version)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
	return version, nil
}

// rest gives the path below which all REST resources lie.
func (c *Client) rest(ctx context.Context) (string, error) {
	version, err := c.APIVersion(ctx)
	if err != nil {
		return "", err
	}
	return "/services/data/v" + version, nil
}

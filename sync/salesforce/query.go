package salesforce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// MaxURL is the longest address that a query goes by. Salesforce takes 16,384 bytes of address and headers together.
// A longer query cannot go by REST; use Bulk.
const MaxURL = 15_000

// QueryPage is one page of a query's answer.
type QueryPage struct {
	// TotalSize counts the records of all pages, as Salesforce counted them when the query began. It is -1 as long as
	// it is not known: Salesforce may tell it after the records, and then it is known once Rows has given io.EOF.
	TotalSize int
	// Done tells that no page follows. Like TotalSize it is sure once Rows has given io.EOF.
	Done bool
	// Rows streams the records from the connection. What the caller leaves unread is skipped before the next page.
	Rows sobject.Rows
}

// Query runs a SOQL query and follows its pages to the end. all reads deleted and archived records too (queryAll).
// The columns are the SELECT list's; QueryRows tells how cells are written, and takes columns that a list cannot tell.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm
func (c *Client) Query(ctx context.Context, soql string, all bool) iter.Seq2[*QueryPage, error] {
	columns, err := selectColumns(soql)
	if err != nil {
		return func(yield func(*QueryPage, error) bool) { yield(nil, err) }
	}
	return c.QueryRows(ctx, columns, soql, all)
}

// QueryRows runs a SOQL query and follows its pages to the end: nextRecordsUrl exactly as given, never the size of a page.
// The cells of each record come in the order of columns, whose names are matched without regard to case and may be paths
// ("Owner.Name"). A column that holds an object (an address, a subquery) comes as its JSON. Numbers are as Salesforce wrote
// them; null and the empty text are nil. A record cannot be read again once it was given, so a reply that is cut ends the
// iteration with a transient error, and a locator that has ended with one that IsLocatorGone tells: begin anew.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm
func (c *Client) QueryRows(ctx context.Context, columns []string, soql string, all bool) iter.Seq2[*QueryPage, error] {
	return func(yield func(*QueryPage, error) bool) {
		const op = opQuery
		tree, err := columnTree(columns)
		if err != nil {
			yield(nil, fmt.Errorf("%s: %w", op, err))
			return
		}
		path, query, err := c.queryTarget(ctx, op, soql, all)
		for err == nil && path != "" {
			var page *pageReader
			page, err = c.openPage(ctx, op, path, query, columns, tree)
			if err != nil {
				break
			}
			var more bool
			more, err = yieldPage(page, yield)
			if !more {
				return
			}
			if err != nil || page.done {
				break
			}
			if page.next == "" || page.next == path {
				err = &APIError{Op: op, Code: CodeMalformedReply, Message: "the page says that more records follow, and not where"}
				break
			}
			path, query, err = c.nextPage(page.next)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// yieldPage hands one page to the consumer, reads what it left, and tells whether it wants more.
func yieldPage(page *pageReader, yield func(*QueryPage, error) bool) (more bool, err error) {
	defer page.rep.Close()
	out := &QueryPage{TotalSize: page.totalSize, Done: page.done}
	out.Rows = pageRows{page, out}
	if !yield(out, nil) {
		return false, nil
	}
	for {
		if _, err := page.Next(); err == io.EOF {
			return true, nil
		} else if err != nil {
			return true, err
		}
	}
}

// pageRows keeps the page's own figures up to date while its records are read.
type pageRows struct {
	*pageReader
	page *QueryPage
}

func (r pageRows) Next() ([][]byte, error) {
	cells, err := r.pageReader.Next()
	if err == io.EOF {
		r.page.TotalSize, r.page.Done = r.totalSize, r.done
	}
	return cells, err
}

func (c *Client) openPage(ctx context.Context, op, path, query string, columns []string, tree *node) (*pageReader, error) {
	var page *pageReader
	r := request{op: op, method: http.MethodGet, path: path, query: query, accept: mediaJSON, again: true, within: queryWithin}
	err := c.do(ctx, r, func(rep *reply) (err error) {
		if page, err = newPageReader(op, rep, columns, tree); err != nil {
			_ = rep.Close()
		}
		return err
	})
	return page, err
}

// nextPage splits a nextRecordsUrl. It is a path; the session goes nowhere but to the org, whatever stands there.
func (c *Client) nextPage(next string) (path, query string, err error) {
	next = strings.TrimPrefix(next, c.cached().InstanceURL)
	if !strings.HasPrefix(next, "/") {
		return "", "", &APIError{Op: opQuery, Code: CodeMalformedReply, Message: "the next page's address is not a path of this org"}
	}
	path, query, _ = strings.Cut(next, "?")
	return path, query, nil
}

func (c *Client) queryTarget(ctx context.Context, op, soql string, all bool) (path, query string, err error) {
	path, err = c.rest(ctx)
	if err != nil {
		return "", "", err
	}
	path += "/query"
	if all {
		path += "All"
	}
	if n := c.QueryURLLen(soql); n > MaxURL {
		return "", "", &APIError{
			Op: op, Code: CodeURITooLong,
			Message: "the query makes an address of " + strconv.Itoa(n) + " bytes, and Salesforce takes " + strconv.Itoa(MaxURL) + ": use Bulk, or fewer fields",
		}
	}
	return path, "q=" + escapeSOQL(soql), nil
}

// QueryURLLen gives the length in bytes of the address that a query would go by; above MaxURL it cannot go by REST.
func (c *Client) QueryURLLen(soql string) int {
	base := c.cached().InstanceURL
	if base == "" {
		base = c.cfg.LoginURL
	}
	return len(base) + len("/services/data/v"+PinnedVersion+"/queryAll?q=") + len(escapeSOQL(soql))
}

// escapeSOQL escapes a query for an address. It leaves alone what an address may hold: lists of hundreds of fields would
// else grow by two bytes a comma.
func escapeSOQL(soql string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(soql) + len(soql)/8)
	for _, ch := range []byte(soql) {
		switch {
		case ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9', strings.IndexByte("-_.~,():'!*", ch) >= 0:
			b.WriteByte(ch)
		case ch == ' ':
			b.WriteByte('+')
		default:
			b.WriteByte('%')
			b.WriteByte(hex[ch>>4])
			b.WriteByte(hex[ch&15])
		}
	}
	return b.String()
}

// Count runs a SELECT COUNT() query. It counts neither deleted nor archived records; CountAll does.
// https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_count.htm
func (c *Client) Count(ctx context.Context, soql string) (int, error) {
	return c.count(ctx, soql, false)
}

// CountAll is Count through queryAll: deleted and archived records count too.
func (c *Client) CountAll(ctx context.Context, soql string) (int, error) {
	return c.count(ctx, soql, true)
}

func (c *Client) count(ctx context.Context, soql string, all bool) (int, error) {
	const op = "count"
	path, query, err := c.queryTarget(ctx, op, soql, all)
	if err != nil {
		return 0, err
	}
	var answer struct {
		TotalSize *int `json:"totalSize"`
	}
	r := request{op: op, method: http.MethodGet, path: path, query: query, accept: mediaJSON, again: true, within: queryWithin}
	if err := c.do(ctx, r, c.into(op, &answer)); err != nil {
		return 0, err
	}
	if answer.TotalSize == nil {
		return 0, &APIError{Op: op, Code: CodeMalformedReply, Message: "the reply holds no totalSize"}
	}
	return *answer.TotalSize, nil
}

// selectColumns reads the names of the cells off a SELECT list: fields and paths by their names, aggregates by their
// aliases, or expr0, expr1, ... as Salesforce calls them.
func selectColumns(soql string) ([]string, error) {
	rest, ok := cutWord(strings.TrimSpace(soql), "SELECT")
	if !ok {
		return nil, errors.New("the query does not begin with SELECT")
	}
	var columns []string
	depth, from, expressions := 0, 0, 0
	item := func(s string) error {
		s = strings.TrimSpace(s)
		words := strings.Fields(s)
		open := strings.IndexByte(s, '(')
		switch {
		case s == "":
			return errors.New("the query's SELECT list has an empty place")
		case open == 0:
			return errors.New("the columns of a query with a subquery have to be named")
		case open > 0 && strings.EqualFold(strings.TrimSpace(s[:open]), "FIELDS"), strings.EqualFold(words[0], "TYPEOF"):
			return errors.New("the columns of a query with FIELDS() or TYPEOF have to be named")
		case open > 0:
			alias := strings.TrimSpace(s[strings.LastIndexByte(s, ')')+1:])
			if alias == "" {
				alias = "expr" + strconv.Itoa(expressions)
				expressions++
			}
			columns = append(columns, alias)
		default:
			columns = append(columns, words[len(words)-1])
		}
		return nil
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				if err := item(rest[from:i]); err != nil {
					return nil, err
				}
				from = i + 1
			}
		case ' ', '\t', '\n', '\r':
			if _, isFrom := cutWord(rest[i+1:], "FROM"); isFrom && depth == 0 {
				// COUNT() alone has no records to name.
				if list := strings.TrimSpace(rest[from:i]); len(columns) == 0 && strings.EqualFold(strings.ReplaceAll(list, " ", ""), "COUNT()") {
					return nil, nil
				}
				err := item(rest[from:i])
				return columns, err
			}
		}
	}
	return nil, errors.New("the query has no FROM")
}

// cutWord takes a keyword off the front, in any case.
func cutWord(s, word string) (string, bool) {
	if len(s) <= len(word) || !strings.EqualFold(s[:len(word)], word) || strings.IndexByte(" \t\r\n", s[len(word)]) < 0 {
		return s, false
	}
	return s[len(word):], true
}

package simorg

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd    tokenKind = iota
	tokWord             // a name or a path of names: Account.Owner.Name
	tokText             // a quoted string, without quotes and escapes
	tokNumber           // a number, a date or a datetime
	tokSign             // ( ) , = != < and so on
)

type token struct {
	kind tokenKind
	text string
	at   int // byte offset in the statement
}

// is compares a keyword or a sign.
func (t token) is(s string) bool {
	return (t.kind == tokWord || t.kind == tokSign) && strings.EqualFold(t.text, s)
}

// soqlError is why a statement is refused. It prints the line and a caret under the place, as Salesforce does.
type soqlError struct {
	code, message string
	at            int // byte offset; -1 when the message stands alone
}

func (e *soqlError) Error() string { return e.message }

func malformed(at int, format string, args ...any) *soqlError {
	return &soqlError{"MALFORMED_QUERY", fmt.Sprintf(format, args...), at}
}

// explain gives the text that Salesforce sends.
func (e *soqlError) explain(src string) string {
	if e.at < 0 {
		return e.message
	}
	at := min(e.at, len(src))
	before := src[:at]
	line := strings.Count(before, "\n") + 1
	start := strings.LastIndexByte(before, '\n') + 1
	column := utf8.RuneCountInString(src[start:at]) + 1
	end := len(src)
	if k := strings.IndexByte(src[at:], '\n'); k >= 0 {
		end = at + k
	}
	// A long line is shown around the place only.
	if at-start > 60 {
		start = at - 60
		for start < at && !utf8.RuneStart(src[start]) {
			start++
		}
	}
	if end-at > 60 {
		end = at + 60
		for end > at && !utf8.RuneStart(src[end]) {
			end--
		}
	}
	return fmt.Sprintf("\n%s\n%s^\nERROR at Row:%d:Column:%d\n%s", src[start:end], strings.Repeat(" ", utf8.RuneCountInString(src[start:at])), line, column, e.message)
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// lex cuts a statement into tokens.
func lex(src string) ([]token, *soqlError) {
	var tokens []token
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '\'':
			s, n, err := lexText(src, i)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, token{tokText, s, i})
			i = n
		case c >= '0' && c <= '9' || (c == '-' || c == '+' || c == '.') && i+1 < len(src) && src[i+1] >= '0' && src[i+1] <= '9':
			n := i + 1
			for n < len(src) && (isWordByte(src[n]) || strings.IndexByte(".:+-", src[n]) >= 0) {
				n++
			}
			tokens = append(tokens, token{tokNumber, src[i:n], i})
			i = n
		case isWordByte(c):
			n := i + 1
			for n < len(src) && (isWordByte(src[n]) || src[n] == '.' && n+1 < len(src) && isWordByte(src[n+1])) {
				n++
			}
			// LAST_N_DAYS:30 is one word.
			if n+1 < len(src) && src[n] == ':' && src[n+1] >= '0' && src[n+1] <= '9' {
				for n++; n < len(src) && src[n] >= '0' && src[n] <= '9'; n++ {
				}
			}
			tokens = append(tokens, token{tokWord, src[i:n], i})
			i = n
		default:
			n := 1
			if i+1 < len(src) {
				switch src[i : i+2] {
				case "!=", "<>", "<=", ">=":
					n = 2
				}
			}
			if strings.IndexByte("(),=<>!", c) < 0 || c == '!' && n == 1 {
				r, _ := utf8.DecodeRuneInString(src[i:])
				return nil, malformed(i, "unexpected char: '%c'", r)
			}
			tokens = append(tokens, token{tokSign, src[i : i+n], i})
			i += n
		}
	}
	return append(tokens, token{tokEnd, "<EOF>", len(src)}), nil
}

func lexText(src string, at int) (string, int, *soqlError) {
	var b strings.Builder
	for i := at + 1; i < len(src); i++ {
		switch c := src[i]; c {
		case '\'':
			return b.String(), i + 1, nil
		case '\\':
			i++
			if i == len(src) {
				return "", 0, malformed(at, "unexpected end of string")
			}
			switch e := src[i]; e {
			case 'n', 'N':
				b.WriteByte('\n')
			case 'r', 'R':
				b.WriteByte('\r')
			case 't', 'T':
				b.WriteByte('\t')
			case 'b', 'B':
				b.WriteByte('\b')
			case 'f', 'F':
				b.WriteByte('\f')
			case '"', '\'':
				b.WriteByte(e)
			case '\\', '_', '%':
				// LIKE must know which of these were escaped, so they keep their backslash; everyone else takes it away.
				b.WriteByte('\\')
				b.WriteByte(e)
			case 'u':
				var r rune
				if i+4 >= len(src) {
					return "", 0, malformed(i-1, "invalid unicode escape")
				}
				if _, err := fmt.Sscanf(src[i+1:i+5], "%04x", &r); err != nil {
					return "", 0, malformed(i-1, "invalid unicode escape")
				}
				b.WriteRune(r)
				i += 4
			default:
				return "", 0, malformed(i-1, "Invalid string literal '%s'. Illegal character sequence '\\%c' in string literal.", src[at+1:i+1], e)
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, malformed(at, "mismatched character '<EOF>' expecting '''")
}

// unlike takes away the backslashes that lexText kept for LIKE.
func unlike(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

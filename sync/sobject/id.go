package sobject

import "fmt"

// ID is a Salesforce id in its 18-character form, whose last three characters make it safe to compare without regard to case.
type ID string

const checksum = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

// ParseID takes an id of 15 or 18 characters and gives the one of 18. The case of an 18-character id that something
// folded on the way is restored from its last three characters. It fails on any other length and on characters that no id has.
func ParseID(s string) (ID, error) {
	if len(s) != 15 && len(s) != 18 {
		return "", fmt.Errorf("%q is not a Salesforce id: it has %d characters, an id has 15 or 18", s, len(s))
	}
	body := []byte(s[:15])
	for _, b := range []byte(s) {
		if !isAlphanumeric(b) {
			return "", fmt.Errorf("%q is not a Salesforce id: %q is neither a letter nor a digit", s, b)
		}
	}
	if len(s) == 15 {
		return ID(s + suffix(body)), nil
	}
	for group := range 3 {
		mask := indexFold(s[15+group])
		if mask < 0 {
			return "", fmt.Errorf("%q is not a Salesforce id: its last three characters are no checksum", s)
		}
		for i := range 5 {
			at := group*5 + i
			upper := mask&(1<<i) != 0
			switch b := body[at]; {
			case b >= '0' && b <= '9':
				if upper {
					return "", fmt.Errorf("%q is not a Salesforce id: its checksum does not fit", s)
				}
			case upper:
				body[at] = b &^ 0x20
			default:
				body[at] = b | 0x20
			}
		}
	}
	return ID(string(body) + suffix(body)), nil
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func indexFold(b byte) int {
	if b >= 'a' && b <= 'z' {
		b &^= 0x20
	}
	for i := range len(checksum) {
		if checksum[i] == b {
			return i
		}
	}
	return -1
}

func suffix(body []byte) string {
	var out [3]byte
	for group := range 3 {
		mask := 0
		for i := range 5 {
			if b := body[group*5+i]; b >= 'A' && b <= 'Z' {
				mask |= 1 << i
			}
		}
		out[group] = checksum[mask]
	}
	return string(out[:])
}

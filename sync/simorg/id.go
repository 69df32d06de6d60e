package simorg

import "strings"

const (
	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// pod is the part of an id that names the instance, and one reserved character: constant in one org.
	pod = "5g0"
	// firstNumber is where an object's numbers start: no org's ids start at zero.
	firstNumber = 1_000_000
)

// appendID writes the 18-character id of an object's row: key prefix, pod, the row's number in base 62, and the checksum that
// makes ids safe to compare without regard to case. The order of ids is the order of numbers.
func appendID(b []byte, prefix string, number uint64) []byte {
	start := len(b)
	b = append(b, prefix...)
	b = append(b, pod...)
	var digits [9]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[number%62]
		number /= 62
	}
	b = append(b, digits[:]...)
	return appendChecksum(b, b[start:start+15])
}

func appendChecksum(b, id []byte) []byte {
	const symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
	for group := 0; group < 15; group += 5 {
		n := 0
		for i := range 5 {
			if c := id[group+i]; c >= 'A' && c <= 'Z' {
				n |= 1 << i
			}
		}
		b = append(b, symbols[n])
	}
	return b
}

// to18 completes a 15-character id; anything else comes back as it is.
func to18(id string) string {
	if len(id) != 15 {
		return id
	}
	return string(appendChecksum([]byte(id), []byte(id)))
}

// isID tells whether the text can be an id: 15 or 18 letters and digits.
func isID(s string) bool {
	if len(s) != 15 && len(s) != 18 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// idNumber gives the number within an id, 15 or 18 characters long.
func idNumber(id string) (n uint64, ok bool) {
	if len(id) != 15 && len(id) != 18 || id[3:6] != pod {
		return 0, false
	}
	for i := 6; i < 15; i++ {
		d := strings.IndexByte(base62, id[i])
		if d < 0 {
			return 0, false
		}
		n = n*62 + uint64(d)
	}
	return n, true
}

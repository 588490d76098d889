// Package printable says whether a text may be quoted as it is, and shortens one that is quoted.
package printable

// Is reports whether s is of printable ASCII alone. Most names and fields are, and need no closer
// look then.
func Is(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// Clip shortens a bad value for an error text.
func Clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

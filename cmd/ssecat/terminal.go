package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// isTerminal reports whether w is a terminal, or another character device.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// visible returns text with control characters escaped, including those that change the direction
// of text. Bytes that are not UTF-8 become U+FFFD, because a terminal may take them for controls:
// 0x9b starts a command, for example.
func visible(text string) string {
	text = strings.ToValidUTF8(text, string(unicode.ReplacementChar))
	hidden := func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	}
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r) // as in JSON
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

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

// visible returns text with all that a terminal would act on, or that would change the
// order of what is read, written out. Bytes that are not UTF-8 become U+FFFD: a terminal may
// take them for controls, such as 0x9b for the start of a command.
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
			fmt.Fprintf(&b, `\u%04x`, r) // as JSON has it
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

package client

import (
	"strings"
	"unicode/utf8"
)

// decodeText decodes text like the standard's UTF-8 decode: invalid bytes become U+FFFD.
func decodeText(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	var b strings.Builder
	b.Grow(textLen(text))
	writeText(&b, text, false)
	return b.String()
}

// textLen returns how many bytes writeText writes for text.
func textLen(text []byte) int {
	n := 0
	for len(text) > 0 {
		valid, invalid := scanInvalid(text)
		n += valid
		if invalid > 0 {
			n += len("\uFFFD")
		}
		text = text[valid+invalid:]
	}
	return n
}

// writeText writes decoded text to b. With isValid, text is written unchecked.
func writeText(b *strings.Builder, text []byte, isValid bool) {
	if isValid {
		b.Write(text)
		return
	}
	for len(text) > 0 {
		valid, invalid := scanInvalid(text)
		b.Write(text[:valid])
		if invalid > 0 {
			b.WriteString("\uFFFD")
		}
		text = text[valid+invalid:]
	}
}

// scanInvalid returns how many bytes at the start of text are valid UTF-8, and how many of the
// bytes after them become one U+FFFD.
func scanInvalid(text []byte) (valid, invalid int) {
	for valid < len(text) {
		r, size := utf8.DecodeRune(text[valid:])
		if r == utf8.RuneError && size == 1 {
			return valid, maximalSubpart(text[valid:])
		}
		valid += size
	}
	return valid, 0
}

// maximalSubpart returns how many bytes at the start of text the standard's decoder treats as one
// error. These are the bytes with which a character could begin, or else one byte. A range over a
// Go string treats each byte as an error of its own.
func maximalSubpart(text []byte) int {
	lower, upper, follow := byte(0x80), byte(0xBF), 0
	switch lead := text[0]; {
	case lead >= 0xC2 && lead <= 0xDF:
		follow = 1
	case lead >= 0xE0 && lead <= 0xEF:
		follow = 2
	case lead >= 0xF0 && lead <= 0xF4:
		follow = 3
	}
	switch text[0] { // no overlong forms, no surrogates, nothing over U+10FFFF
	case 0xE0:
		lower = 0xA0
	case 0xED:
		upper = 0x9F
	case 0xF0:
		lower = 0x90
	case 0xF4:
		upper = 0x8F
	}
	n := 1
	for n <= follow && n < len(text) && text[n] >= lower && text[n] <= upper {
		lower, upper = 0x80, 0xBF
		n++
	}
	return n
}

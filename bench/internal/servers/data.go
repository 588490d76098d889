package servers

import "strings"

// Widths of the two numbers in an event's data, in decimal digits.
const (
	numberWidth = 10
	nanosWidth  = 19
)

// LastNanos is in place of the time in the last event of a series at full speed.
const LastNanos = 1

// AppendData appends the data of an event to b: its number, the time at which it was due,
// and padding up to size bytes. The time is in nanoseconds since 1970, or 0. Both numbers
// have a fixed width. The data has no line break, so it is one line of an event stream.
func AppendData(b []byte, number int, nanos int64, size int) []byte {
	start := len(b)
	b = appendPadded(b, int64(number), numberWidth)
	b = append(b, ' ')
	b = appendPadded(b, nanos, nanosWidth)
	b = append(b, ' ')
	for len(b)-start < size {
		b = append(b, filling[:min(len(filling), size-(len(b)-start))]...)
	}
	return b
}

var filling = strings.Repeat("x", 4<<10)

func appendPadded(b []byte, n int64, width int) []byte {
	var digits [20]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[:width]...)
}

// ParseData reads the numbers that [AppendData] wrote. ok is false without such numbers: a
// server may send events of its own.
func ParseData(data []byte) (number int, nanos int64, ok bool) {
	if len(data) < numberWidth+1+nanosWidth {
		return 0, 0, false
	}
	n, numberOK := parsePadded(data[:numberWidth])
	nanos, nanosOK := parsePadded(data[numberWidth+1:][:nanosWidth])
	return int(n), nanos, numberOK && nanosOK
}

func parsePadded(p []byte) (n int64, ok bool) {
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

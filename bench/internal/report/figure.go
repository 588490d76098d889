package report

import (
	"math"
	"strconv"
	"strings"
)

// space separates a figure from its unit. It is a no-break space.
const space = "\u00a0"

// none is written for a missing figure.
const none = "–"

// Figure formats a figure with three significant digits, and whole numbers below 10,000
// as they are. It uses no prefixes such as k and M: readers compare the figures of a
// column by their length first.
func Figure(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return none
	case math.IsInf(v, 1):
		return "∞"
	case math.IsInf(v, -1):
		return "-∞"
	case v == 0: // of either sign
		return "0"
	case size < 1e-4:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case size < 1e4 && (v == math.Trunc(v) || size >= 1e3):
		return fixed(v, 0)
	default:
		v, exponent := significant(v, 3)
		return fixed(v, max(0, 2-exponent))
	}
}

// Ratio formats v divided by the reference: "4.2×". Near 1, where a hundredth matters, it
// has two decimals.
func Ratio(v, reference float64) string {
	r := v / reference
	switch {
	case math.IsNaN(r), math.IsInf(r, 0), v < 0, reference <= 0:
		return none
	case r == 0:
		return "0×"
	case r < 1e-3:
		return "<0.001×"
	case r < 0.1:
		r, exponent := significant(r, 2)
		return fixed(r, 1-exponent) + "×"
	case r < 1.995:
		return fixed(r, 2) + "×"
	case r < 9.95:
		return fixed(r, 1) + "×"
	default:
		return Figure(math.Round(r)) + "×"
	}
}

// significant rounds v, which is finite and not 0, and returns the power of ten of the
// first digit: 9.996 becomes 10.0, with an exponent of 1.
func significant(v float64, digits int) (rounded float64, exponent int) {
	text := strconv.FormatFloat(v, 'e', digits-1, 64)
	rounded, _ = strconv.ParseFloat(text, 64)
	_, power, _ := strings.Cut(text, "e")
	exponent, _ = strconv.Atoi(power)
	return rounded, exponent
}

// fixed formats v with the given number of decimals, and its whole part in groups of three.
func fixed(v float64, decimals int) string {
	whole, fraction, dot := strings.Cut(strconv.FormatFloat(v, 'f', decimals, 64), ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if dot {
		whole += "." + fraction
	}
	return sign + whole
}

// exactly formats a number that was chosen, not measured.
func exactly(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return fixed(v, 0)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

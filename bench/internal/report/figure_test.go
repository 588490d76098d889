package report_test

import (
	"math"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

// visible replaces no-break spaces by visible ones.
func visible(text string) string { return strings.ReplaceAll(text, "\u00a0", "␣") }

func TestFigureHasThreeSignificantDigits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		v    float64
		want string
	}{
		"missing":              {math.NaN(), "–"},
		"infinite":             {math.Inf(1), "∞"},
		"infinite_below":       {math.Inf(-1), "-∞"},
		"zero":                 {0, "0"},
		"negative_zero":        {math.Copysign(0, -1), "0"},
		"whole":                {7, "7"},
		"whole_hundreds":       {420, "420"},
		"tiny":                 {0.0000123, "1.23e-05"},
		"small":                {0.000123456, "0.000123"},
		"below_one":            {0.5, "0.500"},
		"rounds_to_one":        {0.9999, "1.00"},
		"units":                {1.23456, "1.23"},
		"rounds_to_ten":        {9.996, "10.0"},
		"tens":                 {12.3456, "12.3"},
		"hundreds":             {123.456, "123"},
		"rounds_to_thousand":   {999.7, "1,000"},
		"thousands":            {1234.4, "1,234"},
		"rounds_to_ten_k":      {9999.6, "10,000"},
		"ten_thousands":        {12345, "12,300"},
		"hundred_thousands":    {123456, "123,000"},
		"millions":             {1234567, "1,230,000"},
		"rounds_to_ten_m":      {9999999, "10,000,000"},
		"negative":             {-12.3456, "-12.3"},
		"negative_grouped":     {-123456, "-123,000"},
		"negative_four_places": {-1234, "-1,234"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := visible(report.Figure(test.v)); got != test.want {
				t.Errorf("%v is written %q, want %q", test.v, got, test.want)
			}
		})
	}
}

func TestRatioSaysHowManyTimesTheReference(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		v, reference float64
		want         string
	}{
		"same":               {5, 5, "1.00×"},
		"a_little_more":      {104, 100, "1.04×"},
		"less":               {83, 100, "0.83×"},
		"much_less":          {43, 1000, "0.043×"},
		"next_to_nothing":    {1, 100000, "<0.001×"},
		"nothing":            {0, 3, "0×"},
		"several":            {42, 10, "4.2×"},
		"rounds_to_two":      {1.996, 1, "2.0×"},
		"rounds_to_ten":      {9.96, 1, "10×"},
		"many":               {123.4, 1, "123×"},
		"thousands":          {1234.4, 1, "1,234×"},
		"no_figure":          {math.NaN(), 3, "–"},
		"no_reference":       {3, math.NaN(), "–"},
		"reference_is_zero":  {3, 0, "–"},
		"both_are_zero":      {0, 0, "–"},
		"negative":           {-3, 1, "–"},
		"negative_reference": {3, -1, "–"},
		"both_negative":      {-3, -1, "–"},
		"infinite":           {math.Inf(1), 1, "–"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := visible(report.Ratio(test.v, test.reference)); got != test.want {
				t.Errorf("%v to %v is written %q, want %q", test.v, test.reference, got, test.want)
			}
		})
	}
}

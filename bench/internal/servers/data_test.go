package servers_test

import (
	"testing"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

func TestDataHasNumbersAndSize(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		number int
		nanos  int64
		size   int
		bytes  int
	}{
		"zero":      {0, 0, 100, 100},
		"usual":     {123_456, 1_700_000_000_123_456_789, 100, 100},
		"largest":   {9_999_999_999, 9_223_372_036_854_775_807, 100, 100},
		"exact":     {7, 7, 31, 31},
		"too_small": {7, 7, 10, 31}, // the numbers are always there
		"large":     {7, 7, 20_000, 20_000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := servers.AppendData([]byte("before"), test.number, test.nanos, test.size)[len("before"):]
			if len(data) != test.bytes {
				t.Errorf("it has %d bytes, want %d", len(data), test.bytes)
			}
			number, nanos, ok := servers.ParseData(data)
			if number != test.number || nanos != test.nanos || !ok {
				t.Errorf("%q is read as %d, %d, %v", data, number, nanos, ok)
			}
		})
	}
}

func TestParseDataRejectsOtherData(t *testing.T) {
	t.Parallel()
	valid := string(servers.AppendData(nil, 5, 6, 40))
	for name, data := range map[string]string{
		"empty":          "",
		"short":          valid[:29],
		"json":           `{"reason":"a reason that is long enough"}`,
		"letter_in_time": valid[:25] + "x" + valid[26:],
		"negative":       "-" + valid[1:],
	} {
		if number, nanos, ok := servers.ParseData([]byte(data)); ok {
			t.Errorf("%s: %q is read as %d, %d", name, data, number, nanos)
		}
	}
}

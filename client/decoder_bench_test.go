package client

import (
	"bytes"
	"strings"
	"testing"
)

// bench/decode_bench_test.go compares the decoder with others.
func BenchmarkDecoder(b *testing.B) {
	for _, test := range []struct{ name, event string }{
		{"small", "id: 1000\nevent: price\ndata: " + strings.Repeat("x", 100) + "\n\nid: 1001\nevent: price\ndata: " + strings.Repeat("x", 100) + "\n\n"},
		{"large", "id: 1000\nevent: price\ndata: " + strings.Repeat("x", 4<<10) + "\n\n"},
		{"huge", "id: 1000\nevent: price\ndata: " + strings.Repeat("x", 512<<10) + "\n\n"},
		{"lines", "id: 1000\nevent: price\n" + strings.Repeat("data: "+strings.Repeat("x", 50)+"\n", 20) + "\n"},
		{"invalid_utf8", "data: " + strings.Repeat("xxxxxxx\xff", 16) + "\n\n"},
	} {
		b.Run(test.name, func(b *testing.B) {
			events := strings.Count(test.event, "\n\n")
			b.SetBytes(int64(len(test.event) / events))
			b.ReportAllocs()
			d := NewDecoder(&again{stream: bytes.Repeat([]byte(test.event), 20), most: 1 << 16}, DecoderConfig{})
			for b.Loop() {
				if _, err := d.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package eventlog

import (
	"errors"
	"strings"
	"testing"
)

func TestRecordCheckNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	frame := []byte("data: 1\n\n")
	for named, r := range map[string]Record{
		"":                     {Subject: "user:a", Key: "k", DedupKey: "d", Frame: frame},
		`subject "alice"`:      {Subject: "alice", Frame: frame},
		`Key "a\nb" contains`:  {Subject: "all", Key: "a\nb", Frame: frame},
		"Key has 257 bytes":    {Subject: "all", Key: strings.Repeat("k", 257), Frame: frame},
		"DedupKey is not":      {Subject: "all", DedupKey: "\xff", Frame: frame},
		"a frame of 7 bytes":   {Subject: "all", Frame: frame[:7]},
		`subject "user:\xff\n`: {Subject: "user:\xff\n" + strings.Repeat("x", 1000), Frame: frame},
	} {
		switch err := r.Check(); {
		case named == "":
			if err != nil {
				t.Errorf("a valid record: %v", err)
			}
		case !errors.Is(err, ErrInvalidRecord) || !strings.Contains(err.Error(), named) || len(err.Error()) > 500:
			t.Errorf("error is %v, does not name %s", err, named)
		}
	}
}

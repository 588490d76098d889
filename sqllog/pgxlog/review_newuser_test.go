package pgxlog_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

// TestListenErrorShowsNoPassword has connection strings with a password that pgx cannot parse.
func TestListenErrorShowsNoPassword(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"at_sign":          "postgres://app:first@SECOND%zz@localhost/app",
		"space_in_address": "postgres://app:first@SECOND@local host/app",
		"space_in_words":   "host=localhost password=first SECOND port=5432",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pgxlog.Listen(url)
			if err == nil {
				t.Fatal("the address was taken")
			}
			if strings.Contains(err.Error(), "SECOND") {
				t.Errorf("the error shows a part of the password: %v", err)
			}
		})
	}
}

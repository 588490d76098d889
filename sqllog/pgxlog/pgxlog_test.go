package pgxlog_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

var _ pgxlog.Execer = pgx.Tx(nil)

// TestOnlyTransactionsAreExecers has what would store an event at once.
func TestOnlyTransactionsAreExecers(t *testing.T) {
	t.Parallel()
	for _, value := range []any{(*pgx.Conn)(nil), (*pgxpool.Pool)(nil), (*pgxpool.Conn)(nil)} {
		if _, ok := value.(pgxlog.Execer); ok {
			t.Errorf("%T is one", value)
		}
	}
}

// TestListenErrorShowsNoPassword has addresses that pgx cannot parse.
func TestListenErrorShowsNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://app:first@s3cret%zz@localhost/app",
		"postgres://app:first@s3cret@local host/app",
		"host=localhost password=first s3cret port=5432",
		"postgres://app:pa:s3cret%@host/db",
		"postgres://app:s3cret/x@host/db",
		"postgres://app:s3cret#x@host/db",
		"postgres://app:x?s3cret@host/db",
		"postgres://app:s3cret@x@host:port/db",
		" postgres://app:a:s3cret@b@host:port/db",
		"host=h port=x password = s3cret",
		"host=h port=x password='a\\' s3cret'",
		"host=h port=x PASSWORD=s3cret",
		"host=h user=app password=a\\ s3cret port=x",
		"postgres//app:s3cret@host/db",
		"app:s3cret/pw@host:5432/db",
		"jdbc:postgresql://host/db?user=app&password=s3cret",
		"\"postgres://app:s3cret/x@host/db\"",
		"DATABASE_URL=postgres://app:s3:s3cret/x@host/db",
		"https://host/db?password=s3cret",
	} {
		if _, err := pgxlog.Listen(url); err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
	if _, err := pgxlog.Listen("host=h port=x password=s3cret"); err == nil {
		t.Error("an address that is not valid was taken")
	}
}

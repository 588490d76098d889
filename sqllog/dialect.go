package sqllog

import (
	"context"
	"database/sql"
	"strings"
)

// dialect is what differs between databases. The statements that all of them take are in this
// package's other files. They write parameters as $1, which SQLite and Postgres both know.
type dialect interface {
	// migrate makes the tables, or brings them to this version. If change is false, it only checks the
	// version.
	migrate(ctx context.Context, change bool) error
	// state returns the state of the log's table. tip is the sequence whose check is asked for.
	state(ctx context.Context, tip uint64) (state, error)
	// append stores records in one transaction, in order, and sets their sequences.
	append(ctx context.Context, batch []*pending) error
	// put returns the statement that puts a subject and a frame into a transaction.
	put() string
}

// state is the state of the log's table at one moment.
type state struct {
	epoch uint32
	first uint64 // sequence of the oldest entry; last+1 without entries
	last  uint64 // the last sequence that was used
	check uint32 // of the entry at the tip; 0 if there is none
}

// queries is a *sql.DB, *sql.Conn or *sql.Tx.
type queries interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tables puts the names of the log's tables into a statement: {log} becomes ginsse_log.
func (c *Config) tables(statement string) string {
	var names []string
	for _, table := range []string{"log", "meta", "inbox", "steps"} {
		names = append(names, "{"+table+"}", c.TablePrefix+table)
	}
	return strings.NewReplacer(names...).Replace(statement)
}

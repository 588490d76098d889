package sqllog

import (
	"context"
	_ "embed" // the schemas
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/ginsse/ginsse/eventlog"
)

// Migration brings the tables of the log from one version to the next.
type Migration struct {
	// Version is the version that the tables have afterwards.
	Version int
	// Statements are run in order, on Postgres in one transaction.
	Statements []string
}

var (
	//go:embed postgres_1.sql
	postgres1 string
	//go:embed postgres_2.sql
	postgres2 string
	//go:embed sqlite_1.sql
	sqlite1 string
	//go:embed sqlite_2.sql
	sqlite2 string
)

// schemaVersion is the version of the tables of this package.
const schemaVersion = 2

// PostgresMigrations returns the migrations of the log's tables for [Config.TablePrefix], all of them,
// starting from an empty database. An application whose own tool makes tables runs them there, and sets
// [Config.SkipMigrations].
func PostgresMigrations(tablePrefix string) ([]Migration, error) {
	return migrations(tablePrefix, postgres1, postgres2)
}

// SQLiteMigrations is [PostgresMigrations] for SQLite.
func SQLiteMigrations(tablePrefix string) ([]Migration, error) {
	return migrations(tablePrefix, sqlite1, sqlite2)
}

// migrations returns the migrations of schemas, one for each version.
func migrations(prefix string, schemas ...string) (list []Migration, err error) {
	cfg := Config{TablePrefix: prefix}
	if err := cfg.resolve(); err != nil {
		return nil, err
	}
	names := newNamer(cfg.TablePrefix)
	for i, schema := range schemas {
		_, schema, _ = strings.Cut(schema, "\n\n") // its first lines are for readers of the file
		m := Migration{Version: i + 1}
		for statement := range strings.SplitSeq(schema, ";\n\n") {
			m.Statements = append(m.Statements, names.replacer.Replace(strings.TrimSuffix(strings.TrimSpace(statement), ";")))
		}
		list = append(list, m)
	}
	return list, nil
}

// pending returns the statements that bring tables of a version to this package's.
func pending(list []Migration, has int) (statements []string) {
	for _, m := range list {
		if m.Version > has {
			statements = append(statements, m.Statements...)
		}
	}
	return statements
}

// namer puts the names of the log's tables and functions into statements.
type namer struct {
	replacer *strings.Replacer
	named    sync.Map // statements by their templates, which are few
}

// tables returns a statement with names: {log} becomes ginsse_log.
func (n *namer) tables(template string) string {
	if known, ok := n.named.Load(template); ok {
		return known.(string) //nolint:forcetypeassert // nothing else is stored
	}
	statement := n.replacer.Replace(template)
	n.named.Store(template, statement)
	return statement
}

func newNamer(prefix string, more ...string) *namer {
	names := append([]string{
		"{overhead}", strconv.Itoa(rowOverhead), "{channel}", channel(prefix), "{max_subject}", strconv.Itoa(maxSubject),
		"{max_frame}", strconv.Itoa(maxFrame), "{max_step}", strconv.Itoa(maxStep),
		"{max_name}", strconv.Itoa(eventlog.MaxNameBytes), "{dedup_window}", strconv.FormatInt(eventlog.DedupWindow.Microseconds(), 10),
	}, more...)
	for _, name := range []string{
		"log", "meta", "messages", "inbox", "steps", "repeats", "server", "fresh", "spans", "step", "post",
		"publish", "disconnect", "grant", "revoke", "revoke_topic", "command", "check_name",
	} {
		names = append(names, "{"+name+"}", prefix+name)
	}
	return &namer{replacer: strings.NewReplacer(names...)}
}

// channel is the channel of notifications on Postgres.
func channel(prefix string) string { return prefix + "log" }

// prepare makes the tables, or checks that they are of this version.
func (l *Log) prepare(ctx context.Context) error {
	if err := checkPool(l.db); err != nil {
		return err
	}
	if err := l.dialect.check(ctx); err != nil {
		return err
	}
	if !l.cfg.SkipMigrations {
		if err := l.dialect.migrate(ctx, schemaVersion); err != nil {
			return fmt.Errorf("making the tables, or bringing them to version %d: %w", schemaVersion, l.dialect.explain(err))
		}
	}
	var version int
	if err := l.db.QueryRowContext(ctx, l.tables(`select version from {meta}`)).Scan(&version); err != nil {
		err = l.dialect.explain(err)
		if l.cfg.SkipMigrations {
			return fmt.Errorf("reading the version of the tables: %w; with Config.SkipMigrations, make them with the statements of PostgresMigrations or SQLiteMigrations", err)
		}
		return fmt.Errorf("reading the version of the tables: %w", err)
	}
	if version != schemaVersion {
		return fmt.Errorf("the tables have version %d, and this package needs %d: migrate them, or use the package that made them", version, schemaVersion)
	}
	return l.dialect.checkRights(ctx)
}

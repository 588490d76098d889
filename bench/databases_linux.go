package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/ginsse/ginsse/bench/internal/databases"
	"github.com/ginsse/ginsse/bench/internal/report"
)

// measureDatabases measures package sqllog beside natslog and redislog, prints the results and, if there is a name, writes them.
// parts are the parts to measure, or "" for all.
func measureDatabases(o options, parts, name string) (err error) {
	start := time.Now()
	if o.profiles != "" {
		stop, err := profileThis(filepath.Join(o.profiles, "databases.pprof"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	found, err := databases.Measure(context.Background(), databases.Options{Quick: o.quick, Rounds: o.rounds, Parts: parts})
	if found == nil {
		return err
	}
	facts := &report.Report{
		Date: start, Command: strings.TrimSpace("go run ./bench " + strings.Join(os.Args[1:], " ")), Rounds: o.rounds,
		Took: time.Since(start), Machine: machine(), Commit: commit(),
		Versions: versionsOf("github.com/jackc/pgx/v5", "modernc.org/sqlite", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "github.com/redis/go-redis/v9"),
	}
	if found.Server != "" {
		facts.Versions = append(facts.Versions, report.Version{Module: "PostgreSQL", Version: found.Server})
	}
	if found.Redis != "" {
		facts.Versions = append(facts.Versions, report.Version{Module: "Redis", Version: found.Redis})
	}
	text := "# Databases, " + start.UTC().Format(time.DateOnly) + "\n\n" +
		"`sqllog` in PostgreSQL and in SQLite, `natslog` and `redislog`. What these results mean:\n[BENCHMARKS.md](../../BENCHMARKS.md#databases).\n\n" +
		facts.MarkdownFacts() + "\n" +
		"Figures are medians over the rounds, with the lowest and the highest. Ratios are to the first row, within each round.\n\n" +
		found.Markdown()
	fmt.Print(text)
	if err == nil && name != "" {
		err = report.WriteFile(filepath.Join(results, name+".md"), []byte(text))
	}
	return err
}

// profileThis writes a CPU profile of this process until stop is called.
func profileThis(file string) (stop func() error, err error) {
	f, err := os.Create(file) //nolint:gosec // the user named it
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

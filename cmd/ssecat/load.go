package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ginsse/ginsse/internal/loadtest"
)

// exitFound is the status of ssecat load if events were lost, repeated or in the wrong order.
const exitFound = 1

// runLoad is the subcommand ssecat load.
func runLoad(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	report := func(format string, args ...any) {
		_, _ = fmt.Fprintf(stderr, "ssecat load: "+format+"\n", args...)
	}
	s, err := parseLoad(args, getenv, stdout)
	switch {
	case errors.Is(err, errAnswered):
		return 0
	case err != nil:
		report("%s; ssecat load -h lists the flags", plain(err))
		return exitUsage
	}
	if isTerminal(stderr) {
		s.cfg.Progress = func(p loadtest.Progress) { _, _ = io.WriteString(stderr, progressLine(p)) }
	}
	result, err := loadtest.Run(ctx, s.cfg)
	switch {
	case err != nil && ctx.Err() != nil:
		return exitInterrupted
	case err != nil:
		text := plain(err)
		if strings.Contains(text, "status 401") || strings.Contains(text, "status 403") {
			text += "; check the credential ($SSECAT_TOKEN, -token-file, -H)"
		}
		report("%s", text)
		return exitRefused
	}
	if s.json {
		err = json.NewEncoder(stdout).Encode(newLoadReport(result))
	} else {
		_, err = io.WriteString(stdout, loadText(result))
	}
	switch {
	case err != nil:
		report("%s", plain(err))
		return exitFailed
	case ctx.Err() != nil:
		return exitInterrupted
	case result.Failed():
		return exitFound
	}
	return 0
}

// progressLine says where a run is.
func progressLine(p loadtest.Progress) string {
	line := fmt.Sprintf("%4.0fs  %d open, %d reconnects, %d errors, %d events", p.Elapsed.Seconds(), p.Open, p.Reconnects, p.Errors, p.Events)
	if p.Sent > 0 {
		line += fmt.Sprintf(" of %d sent, p99 %v", p.Sent, p.Latency.Quantile(0.99).Round(10*time.Microsecond))
	}
	return line + "\n"
}

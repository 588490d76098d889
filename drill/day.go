//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ginsse/ginsse/internal/promtest"
)

// badDay is a case of the drill: a fault, and the alerts that must fire and end.
type badDay struct {
	name   string
	fault  string // what is caused
	remedy string
	fires  []string // alerts that must fire after the fault
	may    []string // alerts that may fire as well; all others must not
	// lasts is for how long the fault lasts at least, in production's time. Default: 10 minutes.
	lasts  time.Duration
	panels []panel

	setUp func(ctx context.Context, s *scene) error // starts nodes and clients
	cause func(ctx context.Context, s *scene) error // causes the fault, and returns
	// repair is the remedy.
	repair func(ctx context.Context, s *scene) error
	// check says what is wrong at the end, beside alerts.
	check func(ctx context.Context, s *scene) ([]string, error)
}

// panel is one diagram of a graph.
type panel struct {
	title string
	lines []line
}

// line is a line of a diagram: an expression of Prometheus, with the durations of production. It is a
// sum over all nodes, so that it has one series.
type line struct{ name, expr string }

// record is what has happened in a case.
type record struct {
	day                       *badDay
	began, faulty, fixed, end time.Time
	alerts                    []span
	panels                    [][]promtest.Series // of each panel, the series of each line
	problems                  []string
}

// span is a time in which an alert has fired.
type span struct {
	alert    string
	from, to time.Time
}

const (
	baseline  = 10 * time.Second // without a fault
	afterward = 3 * time.Second  // after the last alert has ended
	patience  = 90 * time.Second // for an alert to fire or to end
)

// play plays a case. hold is called while the fault lasts; nil for nothing.
func (d *badDay) play(ctx context.Context, s *scene, hold func()) (*record, error) {
	r := &record{day: d}
	if err := d.setUp(ctx, s); err != nil {
		return r, fmt.Errorf("setting up: %w", err)
	}
	if err := s.startPrometheus(ctx); err != nil {
		return r, err
	}
	r.began = time.Now()
	if err := pause(ctx, baseline); err != nil {
		return r, err
	}
	r.faulty = time.Now()
	s.say("fault: %s", d.fault)
	if err := d.cause(ctx, s); err != nil {
		return r, fmt.Errorf("causing the fault: %w", err)
	}
	for _, alert := range d.fires {
		err := s.awaitQuery(ctx, fmt.Sprintf(`ALERTS{alertname=%q, alertstate="firing"}`, alert), patience)
		switch {
		case ctx.Err() != nil:
			return r, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded): // the record says so
		case err != nil:
			return r, err
		default:
			s.say("%s fires after %s", alert, r.since(time.Now()))
		}
	}
	lasts := d.lasts
	if lasts == 0 {
		lasts = 10 * time.Minute
	}
	if err := pause(ctx, scaled(lasts)-time.Since(r.faulty)); err != nil {
		return r, err
	}
	if hold != nil {
		hold()
	}
	r.fixed = time.Now()
	s.say("remedy: %s", d.remedy)
	s.endFault()
	if err := d.repair(ctx, s); err != nil {
		return r, fmt.Errorf("repairing: %w", err)
	}
	quiet := s.awaitQuery(ctx, `absent(ALERTS{alertstate="firing"})`, patience)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if quiet == nil {
		s.say("no alert fires, %s after the remedy", minutes(time.Since(r.fixed)))
	}
	if err := pause(ctx, afterward); err != nil {
		return r, err
	}
	r.end = time.Now()
	return r, r.judge(ctx, s)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// since returns the time since the fault.
func (r *record) since(t time.Time) string { return minutes(t.Sub(r.faulty)) }

// minutes returns a duration of the drill as it is in production.
func minutes(d time.Duration) string { return (d * Speed).Round(time.Second).String() }

// judge reads from Prometheus what has happened.
func (r *record) judge(ctx context.Context, s *scene) error {
	fired, err := s.prom.QueryRange(ctx, `max by (alertname) (ALERTS{alertstate="firing"})`, r.began, r.end, interval)
	if err != nil {
		return err
	}
	for _, series := range fired {
		r.alerts = append(r.alerts, spans(series)...)
	}
	slices.SortFunc(r.alerts, func(a, b span) int { return a.from.Compare(b.from) })
	r.compare()
	for _, p := range r.day.panels {
		var all []promtest.Series
		for _, l := range p.lines {
			found, err := s.prom.QueryRange(ctx, scaleDurations(l.expr), r.began, r.end, interval)
			if err != nil {
				return fmt.Errorf("%s: %w", l.expr, err)
			}
			if len(found) != 1 {
				r.problemf("%s has %d series", l.expr, len(found))
				found = []promtest.Series{{}}
			}
			all = append(all, found[0])
		}
		r.panels = append(r.panels, all)
	}
	if r.day.check == nil {
		return nil
	}
	found, err := r.day.check(ctx, s)
	r.problems = append(r.problems, found...)
	return err
}

// compare compares the alerts that have fired with those that must and may.
func (r *record) compare() {
	d := r.day
	for _, a := range r.alerts {
		switch {
		case a.from.Before(r.faulty):
			r.problemf("%s fired before the fault", a.alert)
		case !slices.Contains(d.fires, a.alert) && !slices.Contains(d.may, a.alert):
			r.problemf("%s fired, %s after the fault, and must not", a.alert, r.since(a.from))
		}
		if r.end.Sub(a.to) < 2*interval {
			r.problemf("%s still fires %s after the remedy", a.alert, minutes(r.end.Sub(r.fixed)))
		}
	}
	for _, alert := range d.fires {
		if !slices.ContainsFunc(r.alerts, func(a span) bool { return a.alert == alert }) {
			r.problemf("%s did not fire", alert)
		}
	}
}

func (r *record) problemf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// spans returns the times in which a series has values without a hole.
func spans(series promtest.Series) (found []span) {
	for _, p := range series.Points {
		if n := len(found); n > 0 && p.Time.Sub(found[n-1].to) < 3*interval {
			found[n-1].to = p.Time
			continue
		}
		found = append(found, span{series.Labels["alertname"], p.Time, p.Time})
	}
	return found
}

// report returns what has happened, in lines.
func (r *record) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  fault   %s\n", r.day.fault)
	if !r.fixed.IsZero() {
		fmt.Fprintf(&b, "  remedy  %s, after %s\n", r.day.remedy, r.since(r.fixed))
	}
	for _, a := range r.alerts {
		fmt.Fprintf(&b, "  alert   %s, from %s to %s\n", a.alert, r.since(a.from), r.since(a.to))
	}
	if len(r.alerts) == 0 {
		fmt.Fprintln(&b, "  alert   none")
	}
	for _, p := range r.problems {
		fmt.Fprintf(&b, "  WRONG   %s\n", p)
	}
	return b.String()
}

// run plays a case in a folder of its own, and returns what has happened.
func (d *badDay) run(ctx context.Context, repo string, keep bool, say func(format string, args ...any), hold func(*scene)) (*record, error) {
	limit := 6 * time.Minute
	if hold != nil {
		limit = 6 * time.Hour
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "drill-"+d.name+"-")
	if err != nil {
		return nil, err
	}
	if keep {
		say("the logs of the processes are in %s", dir)
	} else {
		defer os.RemoveAll(dir) //nolint:errcheck // it is in the folder for temporary files
	}
	s := &scene{dir: dir, repo: repo, say: say}
	defer s.close()
	var wait func()
	if hold != nil {
		wait = func() { hold(s) }
	}
	return d.play(ctx, s, wait)
}

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Speed is how many times faster than in production the drill goes. All durations in the alert rules
// are divided by it, and what they count per second is multiplied. So an alert that waits for 5 minutes
// waits for 15 s. Intervals and timeouts of the nodes are divided, too, where they are settings.
//
// What the kit measures is not scaled: a delivery that takes a second does so here as well.
const Speed = 20

// scaled returns a duration of production as it is in the drill.
func scaled(d time.Duration) time.Duration { return d / Speed }

// unit says what a number in a rule is, and so whether time changes it.
type unit int

const (
	fixed     unit = iota // a count, a share, a quantile, or seconds that the kit measures
	perSecond             // a rate
	seconds               // a time for which something is counted, written without a unit
)

// numbers says what each number in the rules is, in the order of the expressions. Durations such as 5m
// are not among them: their unit says what they are. An alert that is not here has no numbers. Scaling
// fails if an expression has other numbers than are listed.
var numbers = map[string][]unit{
	"GinsseNodeDown":         {fixed},
	"GinsseRestarts":         {fixed},
	"GinsseDescriptors":      {fixed},
	"GinsseLogDown":          {fixed},
	"GinsseAppendsFail":      {fixed},
	"GinsseInboxWaits":       {fixed, fixed, fixed, fixed},
	"GinsseDeliveriesLate":   {fixed, fixed, fixed},
	"GinsseStreamsLag":       {fixed, fixed},
	"GinsseSlowClients":      {perSecond, fixed},
	"GinsseGaps":             {fixed, fixed},
	"GinsseStreamsRefused":   {perSecond},
	"GinsseClientsThrottled": {perSecond},
	"GinsseReconnects":       {seconds, fixed},
	"GinsseNearMaxStreams":   {fixed},
	"GinsseNoEvents":         {fixed, perSecond, fixed},
}

// ruleFile is a file of alert rules.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	KeepFor     string            `yaml:"keep_firing_for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// scaleRules returns a file of alert rules with the drill's time.
func scaleRules(text []byte) ([]byte, error) {
	var file ruleFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	for g := range file.Groups {
		rules := file.Groups[g].Rules
		for i := range rules {
			if err := rules[i].scale(); err != nil {
				return nil, fmt.Errorf("%s: %w", rules[i].Alert, err)
			}
		}
	}
	return yaml.Marshal(file)
}

// readRules returns the alert rules of the repository with the drill's time.
func readRules(path string) ([]byte, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the repository's own file
	if err != nil {
		return nil, err
	}
	return scaleRules(text)
}

func (r *rule) scale() error {
	expr, err := scaleExpr(r.Expr, numbers[r.Alert])
	if err != nil {
		return err
	}
	r.Expr, r.For, r.KeepFor = expr, scaleDurations(r.For), scaleDurations(r.KeepFor)
	return nil
}

// token finds what has numbers in an expression: comments, texts, names, durations and numbers.
var token = regexp.MustCompile(`#[^\n]*|"[^"]*"|'[^']*'|[A-Za-z_:][\w:]*|\d+(?:ms|[smhdwy])\b|\d+(?:\.\d+)?`)

// scaleExpr scales the durations and numbers of an expression. units says what the numbers are.
func scaleExpr(expr string, units []unit) (string, error) {
	var err error
	result := token.ReplaceAllStringFunc(expr, func(text string) string {
		if text[0] < '0' || text[0] > '9' {
			return text
		}
		if last := text[len(text)-1]; last > '9' {
			return scaleDuration(text)
		}
		if len(units) == 0 {
			err = fmt.Errorf("nothing says what the number %s is: add it to the table numbers", text)
			return text
		}
		var of unit
		of, units = units[0], units[1:]
		value, bad := strconv.ParseFloat(text, 64)
		err = errors.Join(err, bad)
		switch of {
		case perSecond:
			value *= Speed
		case seconds:
			value /= Speed
		case fixed:
		}
		return strconv.FormatFloat(value, 'g', -1, 64)
	})
	if err == nil && len(units) > 0 {
		err = errors.New("the expression has fewer numbers than the table numbers")
	}
	return result, err
}

// scaleDurations scales the durations alone.
func scaleDurations(expr string) string {
	return token.ReplaceAllStringFunc(expr, func(text string) string {
		if first, last := text[0], text[len(text)-1]; first < '0' || first > '9' || last <= '9' {
			return text
		}
		return scaleDuration(text)
	})
}

// scaleDuration scales a duration of Prometheus, such as 5m or 1d.
func scaleDuration(text string) string {
	number := strings.TrimRight(text, "mshdwy")
	value, _ := strconv.Atoi(number) // the token has digits
	units := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
		"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "y": 365 * 24 * time.Hour,
	}
	return fmt.Sprint(scaled(time.Duration(value)*units[text[len(number):]]).Milliseconds(), "ms")
}

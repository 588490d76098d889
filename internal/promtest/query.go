package promtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Series is one line of a result.
type Series struct {
	Labels map[string]string // without those of the metric that the query has dropped; __name__ is the metric
	Points []Point           // in the order of time; of a [Server.Query] there is one
}

// Point is a value at a time. It may be NaN or infinite.
type Point struct {
	Time  time.Time
	Value float64
}

// Alert is an alert that is pending or firing.
type Alert struct {
	Name        string // also the label alertname
	State       string // "pending" or "firing"
	Labels      map[string]string
	Annotations map[string]string
	ActiveAt    time.Time // when its condition became true
}

// Firing reports whether the alert is more than pending.
func (a Alert) Firing() bool { return a.State == "firing" }

// Query returns the present value of an expression. A number without labels is one series.
func (s *Server) Query(ctx context.Context, expr string) ([]Series, error) {
	return s.query(ctx, "/api/v1/query", url.Values{"query": {expr}})
}

// QueryRange returns the values of an expression from one time to another, a step apart.
func (s *Server) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	return s.query(ctx, "/api/v1/query_range", url.Values{
		"query": {expr}, "start": {seconds(from)}, "end": {seconds(to)},
		"step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
}

func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// Await asks for an expression until its result has a series, and returns the result. A condition such as
// "up == 1" has a series when it is true.
func (s *Server) Await(ctx context.Context, expr string) ([]Series, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		result, err := s.Query(ctx, expr)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("promtest: waiting for %s: %w", expr, ctx.Err())
		}
		if err != nil || len(result) > 0 {
			return result, err
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return nil, fmt.Errorf("promtest: prometheus has ended:\n%s", s.Log())
		case <-ctx.Done():
		}
	}
}

// Alerts returns the alerts that are pending or firing.
func (s *Server) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct {
		Alerts []struct {
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
			State       string            `json:"state"`
			ActiveAt    time.Time         `json:"activeAt"`
		} `json:"alerts"`
	}
	if err := s.get(ctx, "/api/v1/alerts", nil, &data); err != nil {
		return nil, err
	}
	alerts := make([]Alert, 0, len(data.Alerts))
	for _, a := range data.Alerts {
		alerts = append(alerts, Alert{a.Labels["alertname"], a.State, a.Labels, a.Annotations, a.ActiveAt})
	}
	return alerts, nil
}

// query asks for a vector, a matrix or a scalar.
func (s *Server) query(ctx context.Context, path string, form url.Values) ([]Series, error) {
	var data struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := s.get(ctx, path, form, &data); err != nil {
		return nil, err
	}
	if data.ResultType == "scalar" {
		var p Point
		err := json.Unmarshal(data.Result, &p)
		return []Series{{Labels: map[string]string{}, Points: []Point{p}}}, err
	}
	var lines []struct {
		Metric map[string]string `json:"metric"`
		Value  *Point            `json:"value"`
		Values []Point           `json:"values"`
	}
	if err := json.Unmarshal(data.Result, &lines); err != nil {
		return nil, fmt.Errorf("promtest: result of type %q: %w", data.ResultType, err)
	}
	result := make([]Series, 0, len(lines))
	for _, line := range lines {
		if line.Value != nil {
			line.Values = []Point{*line.Value}
		}
		result = append(result, Series{line.Metric, line.Values})
	}
	return result, nil
}

// UnmarshalJSON reads the form of Prometheus: [seconds, "value"].
func (p *Point) UnmarshalJSON(text []byte) error {
	var at float64
	var value string
	if err := json.Unmarshal(text, &[2]any{&at, &value}); err != nil {
		return err
	}
	p.Time = time.UnixMilli(int64(math.Round(at * 1000)))
	var err error
	p.Value, err = strconv.ParseFloat(value, 64)
	return err
}

// get asks the API. The data of the answer goes to data, unless that is nil: then only the status counts.
func (s *Server) get(ctx context.Context, path string, form url.Values, data any) error {
	// A form, because an expression can be too long for a URL. Only queries take one.
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if data == nil {
		if response.StatusCode != http.StatusOK {
			return errors.New("promtest: " + response.Status)
		}
		return nil
	}
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("promtest: %s: %w", response.Status, err)
	}
	if answer.Status != "success" {
		return errors.New("promtest: " + answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

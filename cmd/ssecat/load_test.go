package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/loadtest"
)

// newLoadServer returns the URL of a server with a registry, and what the requests of its senders
// had in the header Authorization. A token of a stream is the name of a user.
func newLoadServer(t *testing.T) (url string, senders <-chan string) {
	t.Helper()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: strings.TrimPrefix(c.GetHeader("Authorization"), "Bearer ")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	authorizations := make(chan string, 1000)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	r.POST("/announce", func(c *gin.Context) {
		authorizations <- c.GetHeader("Authorization") + " " + c.GetHeader("Content-Type")
		body, _ := io.ReadAll(c.Request.Body)
		if _, err := registry.Broadcast(c.Request.Context(), ginsse.Event{Data: string(body)}); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
		}
	})
	r.POST("/users/:user/notify", func(c *gin.Context) {
		body, _ := io.ReadAll(c.Request.Body)
		if _, err := registry.SendTo(c.Request.Context(), c.Param("user"), ginsse.Event{Data: string(body)}); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
		}
	})
	server := httptest.NewUnstartedServer(r)
	server.Config.ConnContext = ginsse.ConnContext
	server.Start()
	t.Cleanup(func() {
		registry.Close()
		server.Close()
	})
	return server.URL, authorizations
}

func TestLoadReportsWhatArrived(t *testing.T) {
	t.Parallel()
	url, senders := newLoadServer(t)
	env := map[string]string{"SSECAT_TOKEN": "secret-reader", "SSECAT_SEND_TOKEN": "secret-sender"}
	got := ssecat(t.Context(), env, "load", "-streams", "4", "-events", "5", "-send-rate", "100", "-send-url", url+"/announce?key=secret", url+"/events?key=secret")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{
		"streams     4 asked, 4 opened in ", "events      20 in ", "sent        5, ",
		"arrived     20 at 4 streams; 0 missing at 0 of them, 0 twice, 0 out of order, 0 at another user's\n  latency   p50 ",
		"#", "\nOK          no loss, no repeat, no disorder\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the report has no %q:\n%s", want, got.stdout)
		}
	}
	if strings.Contains(got.stdout, "secret") {
		t.Errorf("the report shows a credential:\n%s", got.stdout)
	}
	if sender := <-senders; sender != "Bearer secret-sender application/json" {
		t.Errorf("the events are sent with %q", sender)
	}
}

func TestLoadReportsInJSONForEachUser(t *testing.T) {
	t.Parallel()
	url, _ := newLoadServer(t)
	tokens := writeFile(t, "alice alice\n\nbob bob\n")
	got := ssecat(t.Context(), nil, "load", "-json", "-streams", "4", "-events", "10", "-send-rate", "100", "-token-file", tokens,
		"-send-url", url+"/users/{{.User}}/notify", "-body", "{{.Mark}}", url+"/events")
	var report struct {
		OK       bool
		Findings []string
		Streams  struct{ Opened int }
		Sent     struct {
			Events, Arrived, Missing int
			Latency                  struct{ P50, P99, Max float64 }
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != 0 { //nolint:musttag // the names differ in case only
		t.Fatalf("%v, %+v", err, got)
	}
	if s := report.Sent; !report.OK || report.Findings == nil || report.Streams.Opened != 4 || s.Events != 10 || s.Arrived != 20 || s.Missing != 0 || s.Latency.P50 <= 0 || s.Latency.Max < s.Latency.P99 {
		t.Errorf("%+v", report)
	}
}

func TestLoadFailsIfEventsAreMissing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			return // the server says that all is well, and sends nothing
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	got := ssecat(t.Context(), nil, "load", "-streams", "2", "-events", "3", "-send-rate", "100", "-settle", "10ms", "-send-url", server.URL, server.URL)
	if got.code != exitFound || !strings.Contains(got.stdout, "FOUND       loss: 6 events") || !strings.Contains(got.stdout, "does the server put {{.Mark}}") {
		t.Errorf("%+v", got)
	}
}

func TestLoadFailsIfNoEventCanBeSent(t *testing.T) {
	t.Parallel()
	url, _ := newLoadServer(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the field body is\x1b missing", http.StatusUnprocessableEntity)
	}))
	t.Cleanup(refusing.Close)
	got := ssecat(t.Context(), map[string]string{"SSECAT_TOKEN": "alice"}, "load", "-streams", "1", "-events", "2", "-send-rate", "100", "-send-url", refusing.URL, url+"/events")
	if got.code != exitFound || !strings.Contains(got.stdout, `no event could be sent: "status 422 Unprocessable Entity: the field body is\x1b missing"`) {
		t.Errorf("%+v", got)
	}
}

func TestLoadReachesTheNamedHostsOnly(t *testing.T) {
	t.Parallel()
	url, _ := newLoadServer(t)
	reached := make(chan string, 9)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Method }))
	t.Cleanup(other.Close)
	redirecting := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	env := map[string]string{"SSECAT_TOKEN": "alice"}
	got := ssecat(t.Context(), env, "load", "-streams", "1", "-events", "2", "-send-rate", "100", "-send-url", redirecting.URL, url+"/events")
	if got.code != exitFound || !strings.Contains(got.stdout, "status 307 Temporary Redirect") {
		t.Errorf("%+v", got)
	}
	if got := ssecat(t.Context(), env, "load", "-streams", "1", redirecting.URL); got.code != exitRefused {
		t.Errorf("%+v", got)
	}
	if len(reached) > 0 {
		t.Errorf("a %s has reached another host", <-reached)
	}
	s, err := parseLoad([]string{"-send-url", url, url}, func(string) string { return "" }, io.Discard)
	if err != nil || s.cfg.Send.Client.Transport.(*http.Transport).Proxy != nil {
		t.Errorf("the events may go to a proxy; %v", err)
	}
}

func TestLoadSaysWhyNoStreamCouldBeOpened(t *testing.T) {
	t.Parallel()
	got := ssecat(t.Context(), nil, "load", "-streams", "2", "http://"+refusing+"/events?key=secret")
	if got.code != exitRefused || got.stderr != "ssecat load: no stream could be opened: 2 × connection refused\n" {
		t.Errorf("%+v", got)
	}
}

func TestLoadRefusesInvalidArguments(t *testing.T) {
	t.Parallel()
	limit, ok := loadtest.OpenFiles()
	tokens, names := writeFile(t, "secret\n"), writeFile(t, "secret alice\n")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no_url":           {nil, "0 URLs"},
		"bad_url":          {[]string{"http://secret:%zz"}, "the URL is not an absolute http or https URL"},
		"other_scheme":     {[]string{"ftp://a"}, "the URL is not an absolute http or https URL"},
		"no_streams":       {[]string{"-streams", "0", "http://a"}, "-streams is 0"},
		"no_rate":          {[]string{"-rate", "0", "http://a"}, "-rate is 0"},
		"bad_header":       {[]string{"-H", "secret", "http://a"}, "a -H or -send-H is not of the form"},
		"split_header":     {[]string{"-H", "A: b\nsecret: c", "http://a"}, "a -H or -send-H is not of the form"},
		"last_event_id":    {[]string{"-H", "Last-Event-ID: secret", "http://a"}, "-H cannot set Last-Event-ID"},
		"two_tokens":       {[]string{"-H", "Authorization: secret", "-token-file", tokens, "http://a"}, "both -token-file and an Authorization"},
		"no_tokens":        {[]string{"-token-file", writeFile(t, "\n"), "http://a"}, "there is no token"},
		"tokens_in_clear":  {[]string{"-token-file", tokens, "a"}, "the tokens would be sent in clear"},
		"header_in_clear":  {[]string{"-H", "Authorization: secret", "a"}, "Authorization would be sent in clear"},
		"sender_in_clear":  {[]string{"-send-url", "a", "-send-H", "X-Key: secret", "http://a"}, "-send-url: X-Key would be sent in clear"},
		"body_alone":       {[]string{"-body", "x", "http://a"}, "-body has no effect without -send-url"},
		"no_mark":          {[]string{"-send-url", "http://a", "-body", "secret", "http://a"}, "neither -body nor -send-url contains {{.Mark}}"},
		"users_of_nobody":  {[]string{"-send-url", "http://a/{{.User}}", "-token-file", tokens, "http://a"}, "{{.User}} needs a -token-file with names"},
		"bad_send_url":     {[]string{"-send-url", "ftp://a/{{.User}}", "-token-file", names, "http://a"}, "-send-url: the URL is not"},
		"no_such_file":     {[]string{"-token-file", filepath.Join(t.TempDir(), "none"), "http://a"}, "-token-file: open "},
		"too_many_streams": {[]string{"-streams", fmt.Sprint(limit), "http://a"}, fmt.Sprintf("ulimit -n %d", limit+spareFiles+1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "too_many_streams" && (!ok || limit > 1<<30) {
				t.Skip("there is no limit of open files")
			}
			got := ssecat(t.Context(), nil, append([]string{"load"}, test.args...)...)
			if got.code != exitUsage || !strings.Contains(got.stderr, test.want) || strings.Contains(got.stderr, "secret") || got.stdout != "" {
				t.Errorf("%+v, want %q", got, test.want)
			}
		})
	}
}

func TestLoadWarnsOfItsOwnLimits(t *testing.T) {
	t.Parallel()
	var r loadtest.Result
	r.Streams.Asked = 3
	r.Streams.Opened = 2
	r.Tool.Busiest = 0.9
	r.Sent = &loadtest.Sent{Events: 1, Arrived: 1, Expecting: 1, BehindSeconds: 2}
	got := strings.Join(loadWarnings(r), "\n")
	for _, want := range []string{"this tool was short of CPU", "1 streams were never open", "1 streams were opened only after", "up to 2.0 s late"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if quiet := (loadtest.Result{Sent: &loadtest.Sent{}}); len(loadWarnings(quiet)) > 0 {
		t.Errorf("%q", loadWarnings(quiet))
	}
}

func TestLoadPlotsPowersOfTwo(t *testing.T) {
	t.Parallel()
	var h loadtest.Histogram
	for range 100 {
		h.Record(3 * time.Millisecond)
	}
	h.Record(20 * time.Millisecond)
	lines := strings.Split(strings.TrimSuffix(plotText(&h), "\n"), "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], strings.Repeat("#", 50)+" 100") || !strings.HasSuffix(lines[3], " 1") || !strings.Contains(lines[0], "up to   4.10 ms") {
		t.Errorf("%q", lines)
	}
	if plotText(&loadtest.Histogram{}) != "" {
		t.Error("an empty histogram is drawn")
	}
}

func TestLoadShowsItsProgress(t *testing.T) {
	t.Parallel()
	p := loadtest.Progress{Elapsed: 12 * time.Second, Open: 7, Events: 30, Sent: 5, Reconnects: 2, Errors: 1}
	p.Latency.Record(2 * time.Millisecond)
	if got := progressLine(p); !strings.HasPrefix(got, "  12s  7 open, 2 reconnects, 1 errors, 30 events of 5 sent, p99 ") {
		t.Errorf("%q", got)
	}
}

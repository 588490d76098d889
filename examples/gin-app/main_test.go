package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

func TestRunServesUntilContextEndsAndTellsStreams(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-addr", "127.0.0.1:0"}, writer, io.Discard)
		writer.Close()
		ended <- err
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err, <-ended)
	}
	go io.Copy(io.Discard, reader) // until run has ended
	url, found := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if !found {
		t.Fatalf("first line is %q", line)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	alice := &visitor{t: t, url: url, client: client}
	alice.signIn("alice", demoPassword)
	stream := alice.open("/events")
	stream.NextOf("sse.open")

	stop()
	if got := stream.NextOf("sse.close").Data; got != `{"reason":"shutdown","reconnect":true}` {
		t.Errorf("the stream ended with %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestRunWithoutDemoHasNobodyToSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{})
	nobody := s.visitor()
	nobody.want(http.StatusUnauthorized, "POST", "/api/session", credentials{"alice", demoPassword})
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown_flag":        {"-nonsense"},
		"unexpected_argument": {"nonsense"},
		"bad_address":         {"-addr", "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
				t.Error("there was no error")
			}
		})
	}
}

func TestHealthIsAnsweredToEverybody(t *testing.T) {
	t.Parallel()
	newSite(t, appConfig{}).visitor().want(http.StatusOK, "GET", "/healthz", nil)
}

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoadSaysThatAUserHasTooManyStreams(t *testing.T) {
	t.Parallel()
	url, _ := newLoadServer(t)
	env := map[string]string{"SSECAT_TOKEN": "alice"}
	got := ssecat(t.Context(), env, "load", "-streams", "18", "-events", "2", "-send-rate", "100", "-send-url", url+"/announce", url+"/events")
	const want = "warning     2 streams were over for good before the end, and expected nothing from then on; " +
		"replaced: a user had more streams than RegistryConfig.MaxStreamsPerUser"
	if got.code != 0 || !strings.Contains(got.stdout, want) {
		t.Errorf("%+v", got)
	}
}

func TestLoadSaysWhereTheCredentialToSendComesFrom(t *testing.T) {
	t.Parallel()
	url, _ := newLoadServer(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(refusing.Close)
	got := ssecat(t.Context(), map[string]string{"SSECAT_TOKEN": "alice"}, "load", "-streams", "1", "-events", "2", "-send-rate", "100", "-send-url", refusing.URL, url+"/events")
	if got.code != exitFound || !strings.Contains(got.stdout, "status 401 Unauthorized") || !strings.Contains(got.stdout, "($SSECAT_SEND_TOKEN, -send-H)") {
		t.Errorf("%+v", got)
	}
}

func TestLoadSaysWhereTheCredentialOfStreamsComesFrom(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(refusing.Close)
	got := ssecat(t.Context(), nil, "load", "-streams", "2", "-for", "10ms", refusing.URL)
	if got.code != exitRefused || !strings.Contains(got.stderr, "2 × status 401 Unauthorized; check the credential ($SSECAT_TOKEN, ") {
		t.Errorf("%+v", got)
	}
}

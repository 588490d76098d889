package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/ssetest"
)

// announcement is the body of PUT /api/maintenance.
type announcement struct {
	Text    string `json:"text"`
	Minutes int    `json:"minutes"`
}

// nextBanner reads a stream until a banner.
func nextBanner(t *testing.T, stream *ssetest.Stream) banner {
	t.Helper()
	return parse[banner](t, []byte(stream.NextOf("maintenance").Data))
}

// Open pages get the banner, on all nodes, and so do pages that open later.
func TestMaintenanceReachesAllPages(t *testing.T) {
	t.Parallel()
	eachKindOfNodes(t, func(t *testing.T, first, second *site) {
		alice, bob, carol := first.signedIn("alice"), second.signedIn("bob"), first.signedIn("carol")
		open := bob.open("/events")
		carol.want(http.StatusOK, "PUT", "/api/maintenance", announcement{"Back soon", 5})
		answer := carol.want(http.StatusOK, "PUT", "/api/maintenance", announcement{"Back in a moment", 10})
		want := read[banner](answer)
		if left := time.Until(want.Until); want.Text != "Back in a moment" || left > 10*time.Minute || left < 9*time.Minute {
			t.Errorf("the answer is %s", answer.body)
		}
		for got := nextBanner(t, open); got != want; got = nextBanner(t, open) {
			if got.Text != "Back soon" {
				t.Fatalf("an open page got %+v", got)
			}
		}
		later := alice.open("/events")
		if got := nextBanner(t, later); got != want {
			t.Errorf("a new page got %+v, want %+v", got, want)
		}
		carol.want(http.StatusNoContent, "DELETE", "/api/maintenance", nil)
		for _, stream := range []*ssetest.Stream{open, later, alice.open("/events")} {
			if got := nextBanner(t, stream); got != (banner{}) {
				t.Errorf("after the end, a page got %+v", got)
			}
		}
	})
}

func TestMaintenanceIsForAdministrators(t *testing.T) {
	t.Parallel()
	_, alice, _, carol := demo(t)
	wantError(t, alice.want(http.StatusForbidden, "PUT", "/api/maintenance", announcement{"Free cake", 5}), "forbidden")
	wantError(t, alice.want(http.StatusForbidden, "DELETE", "/api/maintenance", nil), "forbidden")
	alice.token = ""
	alice.want(http.StatusUnauthorized, "PUT", "/api/maintenance", announcement{"Free cake", 5})
	for _, invalid := range []announcement{{"", 5}, {strings.Repeat("x", maxBannerRunes+1), 5}, {"x", 0}, {"x", -1}, {"x", maxMinutes + 1}} {
		wantError(t, carol.want(http.StatusUnprocessableEntity, "PUT", "/api/maintenance", invalid), "invalid")
	}
}

package nodetest_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// TestReplayFindsWhatIsWrong has the steps of a page; see [nodetest.Replay].
func TestReplayFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const (
		opened  = `11 sse.open {"topics":["x"]}`
		without = `11 sse.open {"topics":[]}`
		hidden  = `- sse.open {"topics":["x"]}`
		resumed = `- sse.open {"resumed":true,"topics":["x"]}`
		gap     = `40 sse.gap {"reason":"topics"}`
		beat    = `45 sse.heartbeat `
	)
	for name, test := range map[string]struct {
		state bool
		steps []string
		want  string // within the first fault; no fault if it is empty
	}{
		"all":                               {false, []string{opened, "20 t x 2", "30 t x 3", beat}, ""},
		"one_that_was_not_acknowledged":     {false, []string{opened, "20 t x 2", "30 t x 3", "40 t x 4"}, ""},
		"from_before_the_grant":             {false, []string{`5 sse.open {"topics":["x"]}`, "10 t x 1"}, "event x 1 was sent outside"},
		"from_after_the_revocation":         {false, []string{opened, "20 t x 2", "30 t x 3", "50 t x 5"}, "event x 5 was sent outside"},
		"a_hole":                            {false, []string{opened, "30 t x 3"}, "event x 3 came after 1"},
		"a_hole_before_a_position":          {false, []string{opened, "20 t x 2", beat}, "event 3 of x has not come before 45"},
		"a_hole_that_a_gap_covers":          {false, []string{opened, "20 t x 2", gap, beat}, ""},
		"another_gap":                       {false, []string{opened, `40 sse.gap {"reason":"trimmed"}`}, "there is a gap"},
		"repeated":                          {false, []string{opened, "20 t x 2", "20 t x 2"}, "came at 20, after 20"},
		"repeated_without_an_id":            {true, []string{hidden, "- state x 1 member", "- t x 2", "- t x 2"}, "event x 2 came after 2"},
		"with_another_id":                   {false, []string{opened, "21 t x 2"}, "acknowledged as 20"},
		"of_a_topic_that_is_not_read":       {false, []string{without, "20 t x 2"}, "not read"},
		"a_grant_without_the_topic":         {false, []string{without, beat}, "within a grant"},
		"a_grant_that_the_page_has_undone":  {false, []string{opened, "- remove x", `12 sse.topics {"topics":[],"removed":["x"]}`, beat}, ""},
		"a_grant_that_was_refused":          {true, []string{without, `- sse.topics {"topics":[],"refused":["x"]}`, "12 sse.heartbeat ", beat}, ""},
		"a_grant_at_its_place":              {false, []string{without, `12 sse.topics {"topics":["x"],"added":["x"]}`, "20 t x 2", "30 t x 3", beat}, ""},
		"a_hole_after_a_grant":              {false, []string{without, `12 sse.topics {"topics":["x"],"added":["x"]}`, "30 t x 3"}, "event x 3 came after 1"},
		"a_state":                           {true, []string{hidden, "- state x 2 member", "30 t x 3", beat}, ""},
		"a_state_that_is_ahead":             {true, []string{hidden, "- state x 3 member", "20 t x 2", "30 t x 3", beat}, ""},
		"a_hole_after_a_state":              {true, []string{hidden, "- state x 1 member", "30 t x 3"}, "event x 3 came after 1"},
		"a_state_before_an_older_position":  {true, []string{hidden, "- state x 2 member", beat}, "event 3 of x has not come before 45"},
		"a_state_from_after_the_revocation": {true, []string{hidden, "- state x 5 outsider"}, "after the revocation"},
		"a_state_of_a_topic_not_read":       {true, []string{without, "- state x 2 member"}, "not read"},
		"a_position_without_a_state":        {true, []string{hidden, beat, resumed}, "no state"},
		"resumed":                           {false, []string{opened, "20 t x 2", resumed, "30 t x 3", beat}, ""},
		"resumed_with_a_hole":               {false, []string{opened, resumed, "30 t x 3"}, "event x 3 came after 1"},
		"reloaded":                          {false, []string{opened, "- reload ", `31 sse.open {"topics":["x"]}`, beat}, ""},
		"a_transient_event":                 {false, []string{opened, "- v x 2"}, ""},
		"a_transient_event_from_outside":    {false, []string{opened, "- v x 1"}, "from outside"},
		"closed":                            {false, []string{opened, "- sse.close {}"}, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switch faults := nodetest.Replay(test.state, test.steps...); {
			case test.want == "" && len(faults) > 0:
				t.Errorf("found %q", faults)
			case test.want != "" && (len(faults) == 0 || !strings.Contains(faults[0], test.want)):
				t.Errorf("found %q, want %q", faults, test.want)
			}
		})
	}
}

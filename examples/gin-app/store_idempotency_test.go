package main

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/ssetest"
)

const keyHeader = "Idempotency-Key"

func TestRepeatedCommentIsAddedAndSentOnce(t *testing.T) {
	t.Parallel()
	_, alice, bob, carol := demo(t)
	path, id := alice.post("say it once")
	streams := []*ssetest.Stream{alice.open("/events"), carol.open("/events?topic=post:" + strconv.FormatInt(id, 10))}

	repeating := bob.with(keyHeader, "a-key")
	first := repeating.want(http.StatusCreated, "POST", path+"/comments", textRequest{"once"})
	second := repeating.want(http.StatusCreated, "POST", path+"/comments", textRequest{" once "})
	if string(first.body) != string(second.body) {
		t.Errorf("the second answer is %s, the first %s", second.body, first.body)
	}
	// Without the key, and with another, it is another comment.
	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"twice"})
	bob.with(keyHeader, "b-key").want(http.StatusCreated, "POST", path+"/comments", textRequest{"thrice"})

	// Events arrive in order: a second "once" would come before "twice".
	for _, stream := range streams {
		for _, want := range []string{"once", "twice", "thrice"} {
			if event := nextOf(stream, "comment", "post.comment"); parse[textRequest](t, []byte(event.Data)).Body != want {
				t.Errorf("event is %s %s, want %q", event.Type, event.Data, want)
			}
		}
	}
	if list, unread := alice.inbox(); len(list) != 3 || unread != 3 {
		t.Errorf("alice has %d notifications, %d unread", len(list), unread)
	}
	if seen := read[postWithComments](bob.want(http.StatusOK, "GET", path, nil)); len(seen.Comments) != 3 {
		t.Errorf("comments are %+v", seen.Comments)
	}
}

func TestRepeatedPostIsAddedOnce(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	key := strings.Repeat("~", 64)
	first := alice.with(keyHeader, key).want(http.StatusCreated, "POST", "/api/posts", textRequest{"once"})
	second := alice.with(keyHeader, key).want(http.StatusCreated, "POST", "/api/posts", textRequest{"once"})
	if string(first.body) != string(second.body) {
		t.Errorf("the second answer is %s, the first %s", second.body, first.body)
	}
	// Keys of other users are independent.
	third := bob.with(keyHeader, key).want(http.StatusCreated, "POST", "/api/posts", textRequest{"once"})
	if got := read[post](third); got.ID == read[post](first).ID || got.Author != bob.user {
		t.Errorf("bob got %+v", got)
	}
	if posts := read[feed](alice.want(http.StatusOK, "GET", "/api/posts", nil)).Posts; len(posts) != 5 {
		t.Errorf("%d posts", len(posts))
	}
}

func TestKeyOfAnotherRequestIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	bob = bob.with(keyHeader, "a-key")
	// A refused request adds nothing and does not use up the key.
	bob.want(http.StatusNotFound, "POST", "/api/posts/999/comments", textRequest{"hello"})
	bob.want(http.StatusUnprocessableEntity, "POST", "/api/posts/1/comments", textRequest{})
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"hello"})

	wantError(t, bob.want(http.StatusUnprocessableEntity, "POST", "/api/posts/1/comments", textRequest{"good bye"}), "key_reused")
	wantError(t, bob.want(http.StatusUnprocessableEntity, "POST", "/api/posts/3/comments", textRequest{"hello"}), "key_reused")
	wantError(t, bob.want(http.StatusUnprocessableEntity, "POST", "/api/posts", textRequest{"hello"}), "key_reused")
	if list, _ := alice.inbox(); len(list) != 1 {
		t.Errorf("alice has %d notifications", len(list))
	}
}

func TestInvalidKeyIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	for name, values := range map[string][]string{
		"empty":     {""},
		"too_long":  {strings.Repeat("x", 65)},
		"space":     {"a key"},
		"not_ascii": {"schlüssel"},
		"two":       {"a", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/api/posts", "/api/posts/1/comments"} {
				wantError(t, alice.with(keyHeader, values...).want(http.StatusBadRequest, "POST", path, textRequest{"hello"}), "invalid_request")
			}
		})
	}
}

func TestConcurrentRequestsWithOneKeyAddOneComment(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, cfg appConfig) {
		nodes := []*site{newSite(t, cfg), newSite(t, cfg)}
		alice, bob := nodes[0].signedIn("alice"), nodes[0].signedIn("bob")
		made := make([]comment, 8)
		var wg sync.WaitGroup
		for i := range made {
			wg.Go(func() {
				var err error
				if made[i], err = nodes[i%2].app.store.AddComment(t.Context(), 1, bob.user.ID, "hello", "a-key"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, one := range made {
			if one != made[0] {
				t.Errorf("comments are %+v and %+v", made[0], one)
			}
		}
		if list, _ := alice.inbox(); len(list) != 1 {
			t.Errorf("alice has %d notifications", len(list))
		}
	})
}

// In a bubble of synctest a day takes no time.
func TestKeyExpiresAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestStore(t, inMemory)
		alice, err := s.AddAccount(t.Context(), "alice", "hash")
		if err != nil {
			t.Fatal(err)
		}
		add := func(body, key string) int64 {
			made, err := s.AddPost(t.Context(), alice.ID, body, key)
			if err != nil {
				t.Fatal(err)
			}
			return made.ID
		}
		for i := range 3 * maxKeysRemoved {
			add("a post", "key "+strconv.Itoa(i))
		}
		last := add("the last", "last key") // the newest key, so the last one to be removed
		time.Sleep(keyLifetime - time.Millisecond)
		if again := add("the last", "last key"); again != last {
			t.Errorf("within a day the repeated request added post %d", again)
		}
		time.Sleep(time.Millisecond)
		if later := add("something else", "last key"); later == last {
			t.Error("after a day the request added no post")
		}
		// Each new key removes some expired ones.
		kept := func() (n int) {
			if err := s.read.QueryRowContext(t.Context(), "SELECT count(*) FROM idempotency_keys").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i := range 4 {
			before := kept()
			add("new", "new key "+strconv.Itoa(i))
			if removed := before + 1 - kept(); removed < 0 || removed > maxKeysRemoved {
				t.Errorf("%d keys were removed at once", removed)
			}
		}
		if n := kept(); n != 5 { // the keys that are less than a day old
			t.Errorf("%d keys are kept", n)
		}
	})
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

type feed struct{ Posts []post }

func TestPostsAreListedNewestFirstInPages(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t) // has three posts
	for i := range 4 {
		alice.post(fmt.Sprint("post ", i))
	}
	var got []int64
	path := "/api/posts?limit=3"
	for range 3 {
		page := read[feed](alice.want(http.StatusOK, "GET", path, nil)).Posts
		for _, p := range page {
			got = append(got, p.ID)
		}
		path = fmt.Sprint("/api/posts?limit=3&before=", got[len(got)-1])
	}
	if want := []int64{7, 6, 5, 4, 3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("posts are %v, want %v", got, want)
	}
	end := alice.want(http.StatusOK, "GET", "/api/posts?before=1", nil)
	if string(end.body) != `{"posts":[]}` {
		t.Errorf("before the first: %s", end.body)
	}
	if all := read[feed](alice.want(http.StatusOK, "GET", "/api/posts?before=999", nil)).Posts; len(all) != 7 {
		t.Errorf("before a post that does not exist yet: %d posts", len(all))
	}
	for range maxPage {
		alice.post("one of many")
	}
	for query, want := range map[string]int{"": defaultPage, "?limit=1": 1, "?limit=1000": maxPage} {
		answer := alice.want(http.StatusOK, "GET", "/api/posts"+query, nil)
		if page := read[feed](answer).Posts; len(page) != want {
			t.Errorf("%q: %d posts, want %d", query, len(page), want)
		}
	}
}

// The response to a new post or comment is equal to what a later request returns.
func TestResponsesHaveTheFieldsOfThePage(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	made := alice.want(http.StatusCreated, "POST", "/api/posts", textRequest{"a post"})
	wantKeys(t, string(made.body), "id", "author", "body", "created_at", "comment_count", "reactions", "my_reactions")
	listed := read[struct{ Posts []json.RawMessage }](alice.want(http.StatusOK, "GET", "/api/posts", nil)).Posts[0]
	if string(listed) != string(made.body) {
		t.Errorf("listed as %s, made as %s", listed, made.body)
	}
	path := fmt.Sprint("/api/posts/", read[post](made).ID)
	said := bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"a comment"})
	wantKeys(t, string(said.body), "id", "post_id", "author", "body", "created_at")
	reacted := bob.want(http.StatusCreated, "POST", path+"/reactions", `{"kind":"love"}`)
	wantKeys(t, string(reacted.body), "post_id", "actor", "kind", "created_at")

	list := read[struct{ Notifications []json.RawMessage }](alice.want(http.StatusOK, "GET", "/api/notifications", nil)).Notifications
	wantKeys(t, string(list[1]), "id", "type", "read", "post_id", "post_excerpt", "actor", "body", "created_at")
	wantKeys(t, string(list[0]), "id", "type", "read", "post_id", "post_excerpt", "actor", "kind", "created_at")
	wantKeys(t, string(alice.want(http.StatusOK, "POST", "/api/notifications/read", `{"up_to":1}`).body), "up_to", "unread", "newest")
}

func TestTextOfMaximumLengthIsAccepted(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	path, _ := alice.post(strings.Repeat("ä", maxPostRunes))
	alice.want(http.StatusCreated, "POST", path+"/comments", textRequest{strings.Repeat("ä", maxCommentRunes)})
}

// Postgres cannot store this character.
func TestTextWithU0000IsRefused(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	for _, path := range []string{"/api/posts", "/api/posts/1/comments"} {
		wantError(t, alice.want(http.StatusUnprocessableEntity, "POST", path, textRequest{"a\x00b"}), "invalid")
	}
}

// A response has a limited number of comments.
func TestPostHasItsNewestCommentsAndEarlierOnesOnRequest(t *testing.T) {
	t.Parallel()
	s, alice, bob, _ := demo(t)
	path, id := alice.post("a busy post")
	alice.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"on another"})
	all := make([]comment, maxComments+30)
	for i := range all {
		var err error
		if all[i], err = s.app.store.AddComment(t.Context(), id, bob.user.ID, fmt.Sprint(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	seen := read[postWithComments](alice.want(http.StatusOK, "GET", path, nil))
	if seen.CommentCount != len(all) || !slices.Equal(seen.Comments, all[30:]) {
		t.Errorf("%d comments, of which there are %d from %+v on", seen.CommentCount, len(seen.Comments), seen.Comments[0])
	}
	for query, want := range map[string][]comment{
		fmt.Sprint("?limit=7&before=", all[30].ID): all[23:30],
		fmt.Sprint("?before=", all[30].ID):         all[30-defaultPage : 30],
		fmt.Sprint("?limit=7&before=", all[3].ID):  all[:3],
		fmt.Sprint("?before=", all[0].ID):          {},
		"":                                         all[len(all)-defaultPage:],
		"?limit=1000":                              all[len(all)-maxPage:],
	} {
		answer := alice.want(http.StatusOK, "GET", path+"/comments"+query, nil)
		wantKeys(t, string(answer.body), "comments")
		got := read[struct{ Comments []comment }](answer).Comments
		if got == nil || !slices.Equal(got, want) {
			t.Errorf("%q: %s", query, answer.body)
		}
	}
}

func TestPostShowsCommentsAndReactions(t *testing.T) {
	t.Parallel()
	_, alice, bob, carol := demo(t)
	path, id := alice.post("  all in one  ")
	first := read[comment](bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"one"}))
	second := read[comment](carol.want(http.StatusCreated, "POST", path+"/comments", textRequest{"two"}))
	for _, v := range []*visitor{bob, carol} {
		v.want(http.StatusCreated, "POST", path+"/reactions", map[string]string{"kind": "love"})
	}
	carol.want(http.StatusNoContent, "DELETE", path+"/reactions/love", nil)

	answer := bob.want(http.StatusOK, "GET", path, nil)
	wantKeys(t, string(answer.body), "id", "author", "body", "created_at", "comment_count", "reactions", "my_reactions", "comments")
	got := read[postWithComments](answer)
	if got.ID != id || got.Author != alice.user || got.Body != "all in one" || got.CommentCount != 2 {
		t.Errorf("post is %+v", got.post)
	}
	if !slices.Equal(got.Comments, []comment{first, second}) {
		t.Errorf("comments are %+v", got.Comments)
	}
	if got.Reactions["love"] != 1 || !slices.Equal(got.MyReactions, []string{"love"}) {
		t.Errorf("reactions are %v, bob's %v", got.Reactions, got.MyReactions)
	}
	if hers := read[post](carol.want(http.StatusOK, "GET", path, nil)).MyReactions; len(hers) != 0 {
		t.Errorf("carol's are %v", hers)
	}
}

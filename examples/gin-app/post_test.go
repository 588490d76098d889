package main

import (
	"fmt"
	"net/http"
	"slices"
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
		t.Errorf("before a post to come: %d posts", len(all))
	}
}

func TestPostShowsCommentsAndReactions(t *testing.T) {
	t.Parallel()
	_, alice, bob, carol := demo(t)
	path, id := alice.post("  all in one  ")
	first := read[comment](bob.want(http.StatusCreated, "POST", path+"/comments", written{"one"}))
	second := read[comment](carol.want(http.StatusCreated, "POST", path+"/comments", written{"two"}))
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

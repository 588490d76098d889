package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	anonymous := &visitor{t: t, url: alice.url, client: alice.client}
	forged := &visitor{t: t, url: alice.url, client: alice.client, token: alice.token[:len(alice.token)-8] + "AAAAAAAA"}
	tests := map[string]struct {
		from         *visitor
		method, path string
		body         any
		status       int
		code         string
	}{
		"not_json":                  {alice, "POST", "/api/posts", "{", 400, "invalid_request"},
		"no_body":                   {alice, "POST", "/api/posts", nil, 400, "invalid_request"},
		"null":                      {alice, "POST", "/api/posts", " null", 400, "invalid_request"},
		"not_utf8":                  {anonymous, "POST", "/api/users", "{\"name\":\"dave\",\"password\":\"\xff\xff\xff\xff\xff\xff\xff\xff\"}", 400, "invalid_request"},
		"half_a_character":          {anonymous, "POST", "/api/users", `{"name":"dave","password":"long \ud800 enough"}`, 422, "invalid"},
		"events_with_a_body":        {alice, "GET", "/events", "{}", 400, "invalid_request"},
		"events_with_a_large_body":  {alice, "GET", "/events", strings.Repeat("x", 70_000), 413, "too_large"},
		"trailing_slash":            {alice, "GET", "/api/posts/", nil, 404, "not_found"},
		"two_values":                {alice, "POST", "/api/posts", `{"body":"a"} {"body":"b"}`, 400, "invalid_request"},
		"wrong_type":                {alice, "POST", "/api/posts", `{"body":1}`, 400, "invalid_request"},
		"sign_in_not_json":          {anonymous, "POST", "/api/session", "name=alice", 400, "invalid_request"},
		"before_no_number":          {alice, "GET", "/api/posts?before=x", nil, 400, "invalid_request"},
		"limit_zero":                {alice, "GET", "/api/posts?limit=0", nil, 400, "invalid_request"},
		"comments_before_no_number": {alice, "GET", "/api/posts/1/comments?before=x", nil, 400, "invalid_request"},
		"after_no_number":           {alice, "GET", "/api/notifications?after=x", nil, 400, "invalid_request"},
		"sign_up_not_json":          {anonymous, "POST", "/api/users", nil, 400, "invalid_request"},
		"comment_not_json":          {alice, "POST", "/api/posts/1/comments", "[]", 400, "invalid_request"},
		"reaction_not_json":         {alice, "POST", "/api/posts/1/reactions", "like", 400, "invalid_request"},
		"after_negative":            {alice, "GET", "/api/notifications?after=-1", nil, 400, "invalid_request"},
		"wrong_password":            {anonymous, "POST", "/api/session", credentials{"alice", "wrong"}, 401, "wrong_credentials"},
		"unknown_name":              {anonymous, "POST", "/api/session", credentials{"mallory", "demo"}, 401, "wrong_credentials"},
		"no_credentials":            {anonymous, "POST", "/api/session", "{}", 401, "wrong_credentials"},
		"no_token":                  {anonymous, "GET", "/api/me", nil, 401, "unauthenticated"},
		"no_token_on_stream":        {anonymous, "GET", "/events", nil, 401, "unauthenticated"},
		"forged_token":              {forged, "GET", "/api/me", nil, 401, "invalid_token"},
		"forged_token_on_stream":    {forged, "GET", "/events", nil, 401, "invalid_token"},
		"sign_out_without_token":    {anonymous, "DELETE", "/api/session", nil, 401, "unauthenticated"},
		"feed_without_token":        {anonymous, "GET", "/api/posts", nil, 401, "unauthenticated"},
		"post_without_token":        {anonymous, "POST", "/api/posts", textRequest{"hello"}, 401, "unauthenticated"},
		"inbox_without_token":       {anonymous, "GET", "/api/notifications", nil, 401, "unauthenticated"},
		"no_such_post":              {alice, "GET", "/api/posts/999", nil, 404, "not_found"},
		"post_id_no_number":         {alice, "GET", "/api/posts/x", nil, 404, "not_found"},
		"comment_on_no_post":        {alice, "POST", "/api/posts/999/comments", textRequest{"hello"}, 404, "not_found"},
		"comments_of_no_post":       {alice, "GET", "/api/posts/999/comments", nil, 404, "not_found"},
		"reaction_to_no_post":       {alice, "POST", "/api/posts/999/reactions", `{"kind":"like"}`, 404, "not_found"},
		"remove_reaction_no_post":   {alice, "DELETE", "/api/posts/999/reactions/like", nil, 404, "not_found"},
		"remove_unknown_reaction":   {alice, "DELETE", "/api/posts/1/reactions/hate", nil, 404, "not_found"},
		"no_such_route":             {alice, "GET", "/api/nothing", nil, 404, "not_found"},
		"no_such_method":            {alice, "PUT", "/api/posts", nil, 404, "not_found"},
		"no_such_file":              {anonymous, "GET", "/nothing.js", nil, 404, "not_found"},
		"name_taken":                {anonymous, "POST", "/api/users", credentials{"alice", "long enough"}, 409, "name_taken"},
		"name_taken_in_other_case":  {anonymous, "POST", "/api/users", credentials{"Alice", "long enough"}, 409, "name_taken"},
		"post_too_large":            {alice, "POST", "/api/posts", textRequest{strings.Repeat("x", maxBodyBytes)}, 413, "too_large"},
		"sign_in_too_large":         {anonymous, "POST", "/api/session", credentials{"alice", strings.Repeat("x", maxBodyBytes)}, 413, "too_large"},
		"too_large_where_unread":    {alice, "DELETE", "/api/posts/1/reactions/like", strings.Repeat("x", maxBodyBytes+1), 413, "too_large"},
		"empty_post":                {alice, "POST", "/api/posts", textRequest{" \n "}, 422, "invalid"},
		"long_post":                 {alice, "POST", "/api/posts", textRequest{strings.Repeat("ä", maxPostRunes+1)}, 422, "invalid"},
		"empty_comment":             {alice, "POST", "/api/posts/1/comments", textRequest{}, 422, "invalid"},
		"long_comment":              {alice, "POST", "/api/posts/1/comments", textRequest{strings.Repeat("x", maxCommentRunes+1)}, 422, "invalid"},
		"unknown_reaction":          {alice, "POST", "/api/posts/1/reactions", `{"kind":"hate"}`, 422, "invalid"},
		"bad_name":                  {anonymous, "POST", "/api/users", credentials{"no spaces", "long enough"}, 422, "invalid"},
		"short_password":            {anonymous, "POST", "/api/users", credentials{"dave", "short"}, 422, "invalid"},
		"no_name":                   {anonymous, "POST", "/api/users", credentials{"", "long enough"}, 422, "invalid"},
		"long_name":                 {anonymous, "POST", "/api/users", credentials{strings.Repeat("x", 33), "long enough"}, 422, "invalid"},
		"long_password":             {anonymous, "POST", "/api/users", credentials{"dave", strings.Repeat("x", maxPasswordBytes+1)}, 422, "invalid"},
		"read_up_to_missing":        {alice, "POST", "/api/notifications/read", "{}", 422, "invalid"},
		"read_up_to_negative":       {alice, "POST", "/api/notifications/read", `{"up_to":-1}`, 422, "invalid"},
		"read_up_to_beyond_integer": {alice, "POST", "/api/notifications/read", `{"up_to":1e30}`, 400, "invalid_request"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := test.from.want(test.status, test.method, test.path, test.body)
			wantError(t, got, test.code)
			if cache := got.header.Get("Cache-Control"); !strings.HasPrefix(test.path, "/events") && cache != "no-store" {
				t.Errorf("Cache-Control is %q", cache)
			}
			if has := got.header.Get("WWW-Authenticate") != ""; has != (test.status == http.StatusUnauthorized) {
				t.Errorf("WWW-Authenticate is %q", got.header.Get("WWW-Authenticate"))
			}
		})
	}
}

// A chunked body has no Content-Length. It is refused when it exceeds the limit.
func TestChunkedBodyTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	r := alice.request("POST", "/api/posts", nil)
	r.Body = io.NopCloser(strings.NewReader(`{"body":"` + strings.Repeat("x", maxBodyBytes) + `"}`))
	r.ContentLength = -1
	got := alice.send(r)
	if got.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("status %d", got.status)
	}
	wantError(t, got, "too_large")
}

func TestBodyOf64KiBIsRead(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	body := `{"body":"fits"}`
	alice.want(http.StatusCreated, "POST", "/api/posts", body+strings.Repeat(" ", maxBodyBytes-len(body)))
}

func TestCrossSiteRequestIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	anonymous := &visitor{t: t, url: alice.url, client: alice.client}
	r := anonymous.request("POST", "/api/session", credentials{"alice", demoPassword})
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	got := anonymous.send(r)
	if got.status != http.StatusForbidden {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	wantError(t, got, "cross_site_request")

	r = anonymous.request("GET", "/events", nil)
	r.AddCookie(&http.Cookie{Name: sessionCookie, Value: alice.token})
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if got := anonymous.send(r); got.status != http.StatusForbidden {
		t.Errorf("stream: status %d: %s", got.status, got.body)
	}
}

// A page of another site can change nothing, with the visitor's cookie or without. Browsers send
// Sec-Fetch-Site; those older than 2023 send Origin.
func TestCrossSiteWriteIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, _ := alice.post("a post")
	victim := &visitor{t: t, url: bob.url, client: bob.client}
	victim = victim.with("Cookie", sessionCookie+"="+bob.token)
	for name, values := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		v := victim.with(name, values)
		for _, test := range []struct {
			method, path string
			body         any
		}{
			{"POST", "/api/users", credentials{"dave", "long enough"}},
			{"POST", "/api/posts", textRequest{"hello"}},
			{"POST", path + "/comments", textRequest{"hello"}},
			{"POST", path + "/reactions", `{"kind":"like"}`},
			{"DELETE", path + "/reactions/like", nil},
			{"POST", "/api/notifications/read", `{"up_to":1}`},
			{"POST", path + "/typing", nil},
			{"POST", "/events", `{"stream":"any"}`},
			{"DELETE", "/api/session", nil},
		} {
			wantError(t, v.want(http.StatusForbidden, test.method, test.path, test.body), "cross_site_request")
		}
	}
	if list, _ := alice.inbox(); len(list) != 0 {
		t.Errorf("alice has %+v", list)
	}
	victim.with("Sec-Fetch-Site", "same-origin").want(http.StatusCreated, "POST", path+"/comments", textRequest{"hello"})
	victim.want(http.StatusOK, "GET", "/api/me", nil)
}

func TestFullSignInQueueAnswersWithRetryAfter(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	release := fillQueue(t, s.app.passwords.queue)
	for path, given := range map[string]credentials{"/api/session": {"alice", demoPassword}, "/api/users": {"dave", "long enough"}} {
		got := s.visitor().want(http.StatusServiceUnavailable, "POST", path, given)
		wantError(t, got, "busy")
		if after := got.header.Get("Retry-After"); after != "5" {
			t.Errorf("Retry-After is %q", after)
		}
	}
	release()
	s.signedIn("alice")
}

// The cause of an internal error is only for the log.
func TestInternalErrorHidesItsCause(t *testing.T) {
	t.Parallel()
	s, alice, _, _ := demo(t)
	if _, err := s.app.store.write.ExecContext(t.Context(), "ALTER TABLE posts RENAME TO lost"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/posts", "/api/posts/1"} {
		got := alice.want(http.StatusInternalServerError, "GET", path, nil)
		wantError(t, got, "internal")
		if string(got.body) != `{"error":{"code":"internal","message":"something went wrong here"}}` {
			t.Errorf("%s says %s", path, got.body)
		}
	}
	wantReconnect(t, alice.open("/events?topic=post:1"), "overloaded") // its page tries again later
}

func TestPanicIsAnsweredWith500(t *testing.T) {
	t.Parallel()
	a := newTestApp(t, appConfig{})
	r := gin.New()
	r.Use(a.recoverPanics())
	r.GET("/", func(*gin.Context) { panic("a secret") })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	wantError(t, answer{t, w.Code, w.Header(), w.Body.Bytes()}, "internal")
}

// wantError checks that an answer is an error with a code, in the format of API.md.
func wantError(t *testing.T, a answer, code string) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
	got := parse[struct{ Error problem }](t, a.body).Error
	if got.Code != code || got.Message == "" {
		t.Errorf("body is %s, want code %q", a.body, code)
	}
	wantKeys(t, string(a.body), "error")
}

// A client cannot fill the log with long paths.
func TestLongLogValuesAreTruncated(t *testing.T) {
	t.Parallel()
	if got := truncate(strings.Repeat("é", 1000)); len(got) > 310 || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
	if got := truncate("short"); got != "short" {
		t.Error(got)
	}
}

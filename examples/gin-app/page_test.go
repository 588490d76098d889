package main

import (
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestPageHasStrictPolicyAndNothingInline(t *testing.T) {
	t.Parallel()
	v := newSite(t, appConfig{}).visitor()
	for path, contentType := range map[string]string{
		"/":          "text/html; charset=utf-8",
		"/app.js":    "text/javascript; charset=utf-8",
		"/style.css": "text/css; charset=utf-8",
	} {
		got := v.want(http.StatusOK, "GET", path, nil)
		if got.header.Get("Content-Type") != contentType {
			t.Errorf("%s is %q", path, got.header.Get("Content-Type"))
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		// Inline code, which the policy would stop, and calls that insert HTML.
		if found := regexp.MustCompile(`(?i)<script>|\son[a-z]+=|style="|innerHTML|insertAdjacentHTML|document\.write`).Find(got.body); found != nil {
			t.Errorf("%s has %q", path, found)
		}
	}
}

// The page imports these modules.
func TestPageHasTheModulesOfTheKit(t *testing.T) {
	t.Parallel()
	v := newSite(t, appConfig{}).visitor()
	for _, method := range readMethods {
		for _, path := range []string{"/ginsse.js", "/control.js"} {
			got := v.want(http.StatusOK, method, path, nil)
			if got.header.Get("Content-Type") != "text/javascript; charset=utf-8" || got.header.Get("ETag") == "" {
				t.Errorf("%s %s: the headers are %v", method, path, got.header)
			}
		}
	}
}

// Without a content type a browser would guess one, or refuse the file.
func TestEveryFileOfThePageHasAContentType(t *testing.T) {
	t.Parallel()
	files, err := web.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if contentTypes[path.Ext(file.Name())] == "" {
			t.Errorf("%s has none", file.Name())
		}
	}
}

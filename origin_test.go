package ginsse_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

func TestCookieIsRefusedToOtherSitesPages(t *testing.T) {
	t.Parallel()
	token := authtestSignPayload(`"sub":"alice"`)
	const (
		get, post = http.MethodGet, http.MethodPost
		stream    = "/events"
		ordinary  = "/ordinary"
	)
	tests := []struct {
		name, method, path, site, origin string
		allowed                          bool
	}{
		{"stream_same_origin", get, stream, "same-origin", "", true},
		{"stream_by_the_user", get, stream, "none", "", true},
		{"stream_no_browser", get, stream, "", "", true},
		{"stream_cross_site", get, stream, "cross-site", "", false},
		{"stream_cross_site_other_origin", get, stream, "cross-site", "https://evil.example", false},
		{"stream_cross_site_own_host_as_origin", get, stream, "cross-site", "https://example.com", false},
		{"stream_same_site", get, stream, "same-site", "", false},
		{"stream_same_site_other_origin", get, stream, "same-site", "https://blog.example.com", false},
		{"stream_unknown_site_word", get, stream, "Same-Origin", "", false},
		{"stream_cross_site_allowed_origin", get, stream, "cross-site", "https://app.example.org", true},
		{"stream_same_site_allowed_origin", get, stream, "same-site", "https://app.example.org", true},
		{"stream_allowed_origin_other_scheme", get, stream, "cross-site", "http://app.example.org", false},
		{"stream_allowed_origin_other_port", get, stream, "cross-site", "https://app.example.org:8443", false},
		{"stream_allowed_origin_as_prefix", get, stream, "cross-site", "https://app.example.org.evil.example", false},
		{"stream_old_browser_own_host", get, stream, "", "https://example.com", true},
		{"stream_old_browser_own_host_in_capitals", get, stream, "", "https://EXAMPLE.com", true},
		{"stream_old_browser_allowed_origin", get, stream, "", "https://app.example.org", true},
		{"stream_old_browser_other_origin", get, stream, "", "https://evil.example", false},
		{"stream_old_browser_other_port", get, stream, "", "https://example.com:8443", false},
		{"stream_old_browser_subdomain", get, stream, "", "https://blog.example.com", false},
		{"stream_old_browser_null_origin", get, stream, "", "null", false},
		{"stream_old_browser_odd_origin", get, stream, "", "://", false},
		{"stream_old_browser_own_host_and_path", get, stream, "", "https://example.com/app", false},
		{"stream_old_browser_own_host_and_user", get, stream, "", "https://example.com@evil.example", false},
		{"stream_old_browser_own_host_as_user", get, stream, "", "https://evil.example@example.com", false},
		{"stream_old_browser_two_origins", get, stream, "", "https://example.com https://evil.example", false},
		{"stream_old_browser_of_an_app", get, stream, "", "capacitor://example.com", false},

		{"ordinary_get_cross_site", get, ordinary, "cross-site", "https://evil.example", true},
		{"ordinary_head_cross_site", http.MethodHead, ordinary, "cross-site", "", true},
		{"ordinary_options_cross_site", http.MethodOptions, ordinary, "cross-site", "https://evil.example", true},
		{"ordinary_get_old_browser", get, ordinary, "", "https://evil.example", true},
		{"ordinary_post_same_origin", post, ordinary, "same-origin", "https://example.com", true},
		{"ordinary_post_no_browser", post, ordinary, "", "", true},
		{"ordinary_post_allowed_origin", post, ordinary, "cross-site", "https://app.example.org", true},
		{"ordinary_post_cross_site", post, ordinary, "cross-site", "https://evil.example", false},
		{"ordinary_post_same_site", post, ordinary, "same-site", "", false},
		{"ordinary_post_old_browser", post, ordinary, "", "https://evil.example", false},
		{"ordinary_post_null_origin", post, ordinary, "", "null", false},
		{"ordinary_put_cross_site", http.MethodPut, ordinary, "cross-site", "", false},
		{"ordinary_patch_cross_site", http.MethodPatch, ordinary, "cross-site", "", false},
		{"ordinary_delete_cross_site", http.MethodDelete, ordinary, "cross-site", "", false},
	}
	auth := tokentestAuth(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := func(header, value string) *http.Request {
				r := httptest.NewRequest(test.method, test.path, http.NoBody) // of the host example.com
				r.Header.Set(header, value)
				if test.site != "" {
					r.Header.Set("Sec-Fetch-Site", test.site)
				}
				if test.origin != "" {
					r.Header.Set("Origin", test.origin)
				}
				return r
			}
			w := authtestServe(auth, request("Cookie", "session="+token))
			switch {
			case !test.allowed:
				authtestCheckAnswer(t, w.Result(), authtestCrossSite, token)
			case w.Code != http.StatusOK || w.Header().Get("Test-User") != "alice":
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			// A page cannot make a browser send this header without permission.
			w = authtestServe(auth, request("Authorization", "Bearer "+token))
			if w.Code != http.StatusOK {
				t.Errorf("with the token in the header: got %d %s, want 200", w.Code, w.Body)
			}
		})
	}
}

// A page can send the header only if it knows the token, so the request uses no authority of the
// visitor. The cookie must not add any.
func TestACookieBesideAHeaderDoesNotMatterToOtherSitesPages(t *testing.T) {
	t.Parallel()
	auth := tokentestAuth(t)
	sign := func(userID string, expiry time.Time) string {
		return authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("sub", userID, "exp", expiry.Unix()))
	}
	soon, late := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(9*time.Hour).Truncate(time.Second)
	request := func(bearer, cookie string) *http.Request {
		r := tokentestRequest("", "Cookie", "session="+cookie, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		r.Method = http.MethodPost
		r.URL.Path = "/ordinary"
		return r
	}
	for name, cookie := range map[string]string{
		"unusable":       sign("alice", time.Now().Add(-time.Hour)),
		"the same":       sign("alice", soon),
		"that ends late": sign("alice", late),
		"one of two":     sign("alice", soon) + "; session=" + sign("alice", late),
	} {
		w := authtestServe(auth, request(sign("alice", soon), cookie))
		if got, want := w.Header().Get("Test-Expiry"), soon.UTC().Format(time.RFC3339Nano); w.Code != http.StatusOK || got != want {
			t.Errorf("with a cookie that is %s: got %d and expiry %q, want 200 and the header's, %q", name, w.Code, got, want)
		}
	}
	cookie := sign("alice", late)
	for name, bearer := range map[string]string{"none": "", "old": sign("alice", time.Now().Add(-time.Hour)), "malformed": "undefined"} {
		t.Log("with a header that is", name)
		authtestCheckAnswer(t, authtestServe(auth, request(bearer, cookie)).Result(), authtestCrossSite, cookie)
	}
	authtestCheckAnswer(t, authtestServe(auth, request(sign("bob", soon), cookie)).Result(), authtestDifferent, cookie)
}

func TestAllowedOriginsMeanWhatTheyMeanToABrowser(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, setting, origin string }{
		{"as_sent", "https://app.example.org", "https://app.example.org"},
		{"capitals", "HTTPS://App.Example.ORG", "https://app.example.org"},
		{"default_port_of_https", "https://app.example.org:443", "https://app.example.org"},
		{"default_port_of_http", "http://app.example.org:80", "http://app.example.org"},
		{"port_of_the_other_scheme", "http://app.example.org:443", "http://app.example.org:443"},
		{"port", "https://app.example.org:8443", "https://app.example.org:8443"},
		{"port_with_zeros", "https://app.example.org:0443", "https://app.example.org"},
		{"host_not_ascii", "https://bücher.example", "https://xn--bcher-kva.example"},
		{"host_not_ascii_in_capitals", "https://BÜCHER.example:8443", "https://xn--bcher-kva.example:8443"},
		{"host_with_sharp_s", "https://straße.example", "https://xn--strae-oqa.example"},
		{"host_with_wide_dot", "https://例え。jp", "https://xn--r8jz45g.jp"},
		{"host_in_punycode", "https://XN--bcher-kva.example", "https://xn--bcher-kva.example"},
		{"host_with_hyphens", "https://r3---sn-x.example", "https://r3---sn-x.example"},
		{"host_with_hyphens_and_not_ascii", "https://r3---sn.bücher.example", "https://r3---sn.xn--bcher-kva.example"},
		{"host_with_underscore", "https://my_app.example", "https://my_app.example"},
		{"host_with_dot_at_the_end", "https://app.example.org.", "https://app.example.org."},
		{"localhost", "http://localhost:3000", "http://localhost:3000"},
		{"ipv4", "http://192.0.2.1", "http://192.0.2.1"},
		{"ipv6", "http://[2001:DB8:0:0:0:0:0:1]:80", "http://[2001:db8::1]"},
		{"ipv6_with_ipv4", "http://[::ffff:192.0.2.1]:8080", "http://[::ffff:c000:201]:8080"},
		{"extension", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"},
		{"app", "capacitor://localhost", "capacitor://localhost"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth := origintestAuth(t, test.setting)
			if err := origintestAsk(auth, "cross-site", test.origin); err != nil {
				t.Errorf("%q does not allow %q: %v", test.setting, test.origin, err)
			}
			for _, other := range []string{
				"https://example.org", "https://x.app.example.org", "https://app.example.org:8444", "https://app.example.org.evil.example",
				"http://192.0.2.2", "http://[2001:db8::2]", "http://localhost", "null",
			} {
				if err := origintestAsk(auth, "cross-site", other); err == nil {
					t.Errorf("%q allows %q", test.setting, other)
				}
			}
		})
	}
}

func TestOriginsThatCannotMatchAreRefusedWithARemedy(t *testing.T) {
	t.Parallel()
	const pattern = "AuthConfig.AllowOriginFunc"
	tests := []struct{ name, origin, want string }{
		{"star", "*", pattern},
		{"star_for_subdomains", "https://*.example.com", pattern},
		{"star_for_port", "http://localhost:*", pattern},
		{"leading_dot", "https://.example.com", pattern},
		{"null", "null", "cannot be allowed"},
		{"empty", "", "begin with a scheme"},
		{"no_scheme", "app.example.com", "begin with a scheme"},
		{"no_scheme_with_port", "localhost:3000", "begin with a scheme"},
		{"scheme_without_slashes", "https:app.example.com", "begin with a scheme"},
		{"odd_scheme", "1https://app.example.com", "begin with a scheme"},
		{"space_before", " https://app.example.com", "begin with a scheme"},
		{"space_after", "https://app.example.com ", "character"},
		{"no_host", "https://", "no host"},
		{"port_only", "https://:8443", "no host"},
		{"slash", "https://app.example.com/", "'/'"},
		{"path", "https://app.example.com/app", "'/'"},
		{"query", "https://app.example.com?a", "'?'"},
		{"fragment", "https://app.example.com#a", "'#'"},
		{"user", "https://user@app.example.com", "'@'"},
		{"backslash", "https:\\\\app.example.com", "begin with a scheme"},
		{"backslash_behind", "https://app.example.com\\", "'\\\\'"},
		{"percent", "https://app%2eexample.com", "character"},
		{"list", "https://a.example,https://b.example", "'/'"},
		{"empty_part", "https://app..example.com", "empty part"},
		{"port_empty", "https://app.example.com:", "without a port"},
		{"port_not_a_number", "https://app.example.com:https", "port is not a number"},
		{"port_too_large", "https://app.example.com:65536", "port is not a number"},
		{"port_with_sign", "https://app.example.com:+443", "port is not a number"},
		{"ipv4_in_short", "http://127.1:8080", "IPv4"},
		{"ipv4_as_a_number", "http://2130706433", "IPv4"},
		{"ipv4_in_hexadecimal", "http://0x7f.0.0.1", "IPv4"},
		{"ipv4_with_dot_at_the_end", "http://127.0.0.1.", "IPv4"},
		{"ipv6_without_brackets", "http://::1", "character"},
		{"ipv6_with_zone", "http://[fe80::1%25eth0]", "IPv6"},
		{"ipv6_unclosed", "http://[::1", "IPv6"},
		{"ipv4_in_brackets", "http://[127.0.0.1]", "IPv6"},
		{"web_socket", "wss://app.example.com", "http or https"},
		{"file", "file:///home/me/index.html", `"null"`},
		{"host_without_ascii_form", "https://a\u2028b.example", "no ASCII form"},
		{"host_not_utf8", "https://b\xfccher.example", "no ASCII form"},
		{"punycode_that_does_not_decode", "https://xn--a.example", "no ASCII form"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth, err := ginsse.NewAuth(ginsse.AuthConfig{
				Key: authtestSecret, Methods: []string{"HS256"}, Cookie: "session",
				AllowedOrigins: []string{"https://app.example.com", test.origin},
			})
			if err == nil || auth != nil {
				t.Fatalf("got Auth %v and error %v, want nil and an error", auth, err)
			}
			for _, part := range []string{"ginsse: AuthConfig.AllowedOrigins", test.want} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestOwnHostIsComparedAsBrowsersWriteIt(t *testing.T) {
	t.Parallel()
	const plain, secure = false, true
	tests := []struct {
		name, host, origin string
		tls, allowed       bool
	}{
		{"same", "example.com", "https://example.com", secure, true},
		{"behind_a_proxy", "example.com", "https://example.com", plain, true},
		{"http", "example.com", "http://example.com", plain, true},
		{"http_page_of_an_https_server", "example.com", "http://example.com", secure, false},
		{"capitals_in_host", "Example.COM", "https://example.com", secure, true},
		{"default_port_in_host", "example.com:443", "https://example.com", secure, true},
		{"default_port_in_host_behind_a_proxy", "example.com:443", "https://example.com", plain, true},
		{"default_port_of_http_in_host", "example.com:80", "http://example.com", plain, true},
		{"default_port_in_origin", "example.com", "https://example.com:443", secure, true},
		{"empty_port_in_host", "example.com:", "https://example.com", secure, true},
		{"port", "example.com:8443", "https://example.com:8443", secure, true},
		{"other_port", "example.com:8443", "https://example.com", secure, false},
		{"port_of_the_other_scheme", "example.com:80", "https://example.com", plain, false},
		{"other_port_in_origin", "example.com", "https://example.com:8443", secure, false},
		{"dot_at_the_end_of_both", "example.com.", "https://example.com.", secure, true},
		{"dot_at_the_end_of_one", "example.com", "https://example.com.", secure, false},
		{"punycode", "xn--bcher-kva.example", "https://xn--bcher-kva.example", secure, true},
		{"ipv4", "192.0.2.1:8080", "http://192.0.2.1:8080", plain, true},
		{"ipv6", "[::1]:8080", "http://[::1]:8080", plain, true},
		{"ipv6_in_another_spelling", "[0:0:0:0:0:0:0:1]", "http://[::1]", plain, true},
		{"ipv6_other", "[::1]:8080", "http://[::2]:8080", plain, false},
		{"no_host", "", "https://", plain, false},
		{"odd_host", "exa mple.com", "https://exa mple.com", plain, false},
		{"scheme_of_an_app", "example.com", "app://example.com", plain, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := origintestRequest("", test.origin)
			r.Host = test.host
			if test.tls {
				r.TLS = new(tls.ConnectionState)
			}
			w := authtestServe(origintestAuth(t), r)
			if allowed := w.Code == http.StatusOK; allowed != test.allowed {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestAllowOriginFuncIsCalledOnlyForOrigins(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, site string
		origins    []string
		asked      string // "" if the function is not called
	}{
		{"tenant", "cross-site", []string{"https://tenant1.example.com"}, "https://tenant1.example.com"},
		{"same_site", "same-site", []string{"https://tenant1.example.com"}, "https://tenant1.example.com"},
		{"old_browser", "", []string{"https://tenant1.example.com:8443"}, "https://tenant1.example.com:8443"},
		{"in_another_spelling", "cross-site", []string{"HTTPS://Tenant1.example.com:443"}, "https://tenant1.example.com"},
		{"ipv6_with_ipv4", "cross-site", []string{"http://[::ffff:c000:201]:8080"}, "http://[::ffff:c000:201]:8080"},
		{"in_the_list", "cross-site", []string{"https://app.example.org"}, ""},
		{"same_origin", "same-origin", []string{"https://tenant1.example.com"}, ""},
		{"own_host_of_an_old_browser", "", []string{"https://example.com"}, ""},
		{"null", "cross-site", []string{"null"}, ""},
		{"none", "cross-site", nil, ""},
		{"empty", "cross-site", []string{""}, ""},
		{"with_a_path", "cross-site", []string{"https://tenant1.example.com/"}, ""},
		{"with_a_user", "cross-site", []string{"https://evil.example#@tenant1.example.com"}, ""},
		{"not_ascii", "cross-site", []string{"https://bücher.example"}, ""},
		{"two", "cross-site", []string{"https://tenant1.example.com", "https://evil.example"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, answer := range []bool{true, false} {
				var asked []string
				auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
					cfg.Cookie, cfg.AllowedOrigins = "session", []string{"https://app.example.org"}
					cfg.AllowOriginFunc = func(origin string) bool {
						asked = append(asked, origin)
						return answer
					}
				})
				err := origintestAsk(auth, test.site, test.origins...)
				if got := strings.Join(asked, " "); got != test.asked {
					t.Errorf("it was asked about %q, want %q", got, test.asked)
				}
				if test.asked != "" && (err == nil) != answer {
					t.Errorf("it answers %t: got %v", answer, err)
				}
			}
		})
	}
}

func TestAllowOriginFuncIsNotCalledForUnauthenticatedPeers(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Cookie = "session"
		cfg.AllowOriginFunc = func(origin string) bool {
			t.Errorf("it was asked about %q", origin)
			return true
		}
	})
	r := origintestRequest("cross-site", "https://tenant1.example.com")
	r.Header.Set("Cookie", "session="+authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("exp", 1)))
	authtestRefused(t, auth, r, authtestExpired)
	r.Header.Set("Authorization", "Bearer "+authtestSignPayload(`"sub":"alice"`))
	if userID := authtestUser(t, auth, r); userID != "alice" {
		t.Errorf("with the token in the header: user ID %q", userID)
	}
}

func TestTheLogOfARefusedOriginNamesItAndTheSetting(t *testing.T) {
	t.Parallel()
	const setting = "AuthConfig.AllowedOrigins"
	long := "https://" + strings.Repeat("evil.", 100) + "example"
	tests := []struct {
		name, site, origin string
		want               []string
	}{
		{"cross_site", "cross-site", "https://evil.example", []string{`"https://evil.example"`, setting, "AllowOriginFunc"}},
		{"old_browser", "", "https://evil.example", []string{`"https://evil.example"`, setting, `"example.com"`, "proxy"}},
		{"no_origin", "same-site", "", []string{`"same-site"`, "no Origin", setting}},
		{"null", "cross-site", "null", []string{`"null"`, "sandboxed"}},
		{"with_quotes", "cross-site", `https://"x`, []string{`"https://\"x"`, setting}},
		{"long", "cross-site", long, []string{long[:64] + `…"`, setting}},
	}
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Cookie = "session"
		cfg.AllowOriginFunc = func(string) bool { return false }
	})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := origintestAsk(auth, test.site, test.origin)
			if err == nil {
				t.Fatal("the origin is allowed")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the log says %q, and not %q", err, part)
				}
			}
			if len(err.Error()) > 400 {
				t.Errorf("the log has %d bytes", len(err.Error()))
			}
		})
	}
}

// FuzzOrigin compares the parser with net/url, for the origins of a setting, a page and the
// request's host.
func FuzzOrigin(f *testing.F) {
	for _, seed := range [][3]string{
		{"https://app.example.com", "https://app.example.com:443", "app.example.com"},
		{"HTTPS://App.example.com", "https://app.example.com", "APP.example.com:443"},
		{"https://bücher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"http://[::1]:80", "http://[0::1]", "[::1]:080"},
		{"https://*.example.com", "https://a.example.com", "a.example.com"},
		{"https://a@b", "https://b", "b"},
		{"https://a/b", "https://a", "a"},
		{"http://127.1", "http://127.0.0.1", "127.0.0.1."},
		{"null", "null", "null"},
		{"https://a:", "https://a", "a:"},
		{"a://b:443", "a://b", "b:"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, setting, page, host string) {
		cfg := ginsse.AuthConfig{Key: authtestSecret, Methods: []string{"HS256"}, Cookie: "session"}
		own, err := ginsse.NewAuth(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r := origintestRequest("", page)
		r.Host = host
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		c.Request = r
		own.RequireUser()(c)
		if page != "" && !c.IsAborted() && origintestForm(page) != origintestForm(strings.ToLower(page[:strings.Index(page, ":")])+"://"+host) {
			t.Errorf("the host %q is taken for that of %q", host, page)
		}

		cfg.AllowedOrigins = []string{setting}
		auth, err := ginsse.NewAuth(cfg)
		if err != nil {
			return
		}
		if origintestAsk(auth, "cross-site", page) == nil && origintestForm(setting) != origintestForm(page) && origintestASCII(setting) {
			t.Errorf("%q allows %q", setting, page)
		}
		// An accepted origin is one that a browser can send.
		var form string
		if origintestASCII(setting) {
			form = origintestForm(setting)
			if err := origintestAsk(auth, "cross-site", form); err != nil {
				t.Errorf("%q was taken, and does not allow %q: %v", setting, form, err)
			}
		}
		if strings.ContainsAny(form, "*@?#\\") {
			t.Errorf("%q was taken", setting)
		}
	})
}

// Helpers of the tests of origins.

// origintestAuth returns an Auth that accepts the cookie for pages of the origins.
func origintestAuth(t testing.TB, origins ...string) *ginsse.Auth {
	t.Helper()
	return authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Cookie, cfg.AllowedOrigins = "session", origins })
}

// origintestRequest returns a POST to example.com from a page, with a valid cookie.
func origintestRequest(site string, origins ...string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/ordinary", http.NoBody)
	r.Header.Set("Cookie", "session="+authtestSignPayload(`"sub":"alice"`))
	if site != "" {
		r.Header.Set("Sec-Fetch-Site", site)
	}
	r.Header["Origin"] = origins
	return r
}

// origintestAsk returns the refusal of a request from a page, or nil.
func origintestAsk(auth *ginsse.Auth, site string, origins ...string) error {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = origintestRequest(site, origins...)
	auth.RequireUser()(c)
	if last := c.Errors.Last(); last != nil {
		return last.Err
	}
	return nil
}

// origintestForm returns an origin as net/url parses it, in a normal form.
func origintestForm(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "not a URL: " + text
	}
	host, port := strings.ToLower(u.Hostname()), strings.TrimLeft(u.Port(), "0")
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + addr.StringExpanded() + "]"
	}
	if u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" || port == "" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

func origintestASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

// A link to an ordinary route may come from any page, so RequireUser lets GET pass. A stream must not
// be opened like this: it does work, and takes the visitor's places.
func TestStreamBehindRequireUserRefusesPagesOfOtherSites(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Cookie = "session" })
	registry := newRegistry(t, ginsse.RegistryConfig{})
	ran := false
	r := gin.New()
	r.GET("/plain", auth.RequireUser(), func(c *gin.Context) { c.Status(http.StatusNoContent) })
	r.GET("/registry", auth.RequireUser(), registry.Handler())
	r.GET("/request", auth.RequireUser(), func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error {
			ran = true
			return nil
		})
	})
	token := authtestSignPayload(`"sub":"alice"`)
	for _, test := range []struct {
		path   string
		header http.Header
		status int
	}{
		{"/plain", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusNoContent},
		{"/registry", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		{"/request", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		{"/request", http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden},
		{"/request", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Authorization": {"Bearer " + token}}, http.StatusOK},
		{"/request", http.Header{"Sec-Fetch-Site": {"same-origin"}}, http.StatusOK},
	} {
		ran = false
		request := httptest.NewRequest(http.MethodGet, test.path, http.NoBody)
		request.Header = test.header
		request.AddCookie(&http.Cookie{Name: "session", Value: token})
		w := httptest.NewRecorder()
		r.ServeHTTP(w, request)
		if w.Code != test.status || ran != (test.path == "/request" && test.status == http.StatusOK) {
			t.Errorf("%s with %v: status %d, the producer ran: %v", test.path, test.header, w.Code, ran)
		}
	}
}

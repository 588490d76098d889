package ginsse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

func TestTokenIsFoundInEachPlace(t *testing.T) {
	t.Parallel()
	token := authtestSignPayload(`"sub":"alice"`)
	tests := []struct {
		name    string
		request *http.Request
	}{
		{"header", tokentestRequest("", "Authorization", "Bearer "+token)},
		{"header_scheme_in_lower_case", tokentestRequest("", "Authorization", "bearer "+token)},
		{"header_scheme_in_upper_case", tokentestRequest("", "Authorization", "BEARER "+token)},
		{"header_several_spaces", tokentestRequest("", "Authorization", "Bearer   "+token)},
		{"header_beside_another_scheme", tokentestRequest("", "Authorization", "Basic YTpi", "Authorization", "Bearer "+token)},
		{"cookie", tokentestRequest("", "Cookie", "theme=dark; session="+token)},
		{"cookie_quoted", tokentestRequest("", "Cookie", `session="`+token+`"`)},
		{"cookie_beside_another_scheme", tokentestRequest("", "Authorization", "Basic YTpi", "Cookie", "session="+token)},
		{"query", tokentestRequest("access_token=" + token)},
		{"query_among_others", tokentestRequest("a=1&access_token=" + token + "&b=2")},
		{"query_name_escaped", tokentestRequest("access%5Ftoken=" + token)},
		{"query_value_escaped", tokentestRequest("access_token=" + strings.ReplaceAll(token, ".", "%2E"))},
		{"query_empty_beside", tokentestRequest("access_token=&access_token=" + token)},
		{"same_in_header_twice", tokentestRequest("", "Authorization", "Bearer "+token, "Authorization", "bearer "+token)},
		{"same_in_cookie_twice", tokentestRequest("", "Cookie", "session="+token+"; session="+token)},
		{"same_in_query_twice", tokentestRequest("access_token=" + token + "&access_token=" + token)},
		{"same_in_header_and_cookie", tokentestRequest("", "Authorization", "Bearer "+token, "Cookie", "session="+token)},
		{"same_everywhere", tokentestRequest("access_token="+token, "Authorization", "Bearer "+token, "Cookie", "session="+token)},
		{"header_beside_empty_cookie", tokentestRequest("", "Authorization", "Bearer "+token, "Cookie", "session=")},
	}
	auth := tokentestAuth(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if userID := authtestUser(t, auth, test.request); userID != "alice" {
				t.Errorf("user ID %q, want %q", userID, "alice")
			}
		})
	}
}

func TestRequestsWithoutOneGoodTokenAreRefused(t *testing.T) {
	t.Parallel()
	token := authtestSignPayload(`"sub":"alice"`)
	other := authtestSignPayload(`"sub":"bob"`)
	tests := []struct {
		name    string
		request *http.Request
		want    authtestAnswer
	}{
		{"nothing", tokentestRequest(""), authtestMissing},
		{"another_scheme", tokentestRequest("", "Authorization", "Basic "+token), authtestMissing},
		{"no_scheme", tokentestRequest("", "Authorization", token), authtestNoScheme},
		{"tab_after_scheme", tokentestRequest("", "Authorization", "Bearer\t"+token), authtestNoScheme},
		{"scheme_with_colon", tokentestRequest("", "Authorization", "Bearer: "+token), authtestNoScheme},
		{"space_before_scheme", tokentestRequest("", "Authorization", " Bearer "+token), authtestNoScheme},
		{"other_header", tokentestRequest("", "Proxy-Authorization", "Bearer "+token), authtestMissing},
		{"other_cookie", tokentestRequest("", "Cookie", "Session="+token), authtestMissing},
		{"empty_cookie", tokentestRequest("", "Cookie", "session="), authtestMissing},
		{"cookie_that_does_not_parse", tokentestRequest("", "Cookie", `session=`+token+`"`), authtestMissing},
		{"other_parameter", tokentestRequest("token=" + token), authtestMissing},
		{"parameter_in_another_case", tokentestRequest("Access_Token=" + token), authtestMissing},
		{"empty_parameter", tokentestRequest("access_token="), authtestMissing},
		{"parameter_that_does_not_unescape", tokentestRequest("access_token=" + token + "%zz"), authtestMissing},
		{"form", tokentestForm("access_token=" + token), authtestMissing},

		{"scheme_only", tokentestRequest("", "Authorization", "Bearer"), authtestMalformed},
		{"scheme_and_spaces", tokentestRequest("", "Authorization", "Bearer   "), authtestMalformed},
		{"two_words", tokentestRequest("", "Authorization", "Bearer "+token+" "+token), authtestMalformed},
		{"space_after_token", tokentestRequest("", "Authorization", "Bearer "+token+" "), authtestMalformed},
		{"tab_in_token", tokentestRequest("", "Authorization", "Bearer \t"+token), authtestMalformed},
		{"list", tokentestRequest("", "Authorization", "Bearer "+token+",Bearer "+token), authtestMalformed},
		{"list_beside_good_cookie", tokentestRequest("", "Authorization", "Bearer "+other+", Bearer "+token, "Cookie", "session="+token), authtestMalformed},
		{"good_then_list", tokentestRequest("", "Authorization", "Bearer "+token, "Authorization", "Bearer "+token+","+other), authtestMalformed},

		{"two_headers", tokentestRequest("", "Authorization", "Bearer "+token, "Authorization", "Bearer "+other), authtestDifferent},
		{"two_cookies", tokentestRequest("", "Cookie", "session="+token+"; session="+other), authtestDifferent},
		{"two_cookie_headers", tokentestRequest("", "Cookie", "session="+token, "Cookie", "session="+other), authtestDifferent},
		{"two_parameters", tokentestRequest("access_token=" + token + "&access_token=" + other), authtestDifferent},
		{"header_and_cookie", tokentestRequest("", "Authorization", "Bearer "+token, "Cookie", "session="+other), authtestDifferent},
		{"header_and_parameter", tokentestRequest("access_token="+other, "Authorization", "Bearer "+token), authtestDifferent},
		{"cookie_and_parameter", tokentestRequest("access_token="+other, "Cookie", "session="+token), authtestDifferent},
		{"different_beside_bad_ones", tokentestRequest("", "Cookie", "session=x; session="+token+"; session="+token+"x; session="+other), authtestDifferent},

		{"bad_in_cookie", tokentestRequest("", "Cookie", "session="+token+"x"), authtestInvalid},
		{"bad_in_query", tokentestRequest("access_token=" + token + "x"), authtestInvalid},
		{"line_feed_behind", tokentestRequest("access_token=" + token + "%0A"), authtestInvalid},
		{"carriage_return_behind", tokentestRequest("access_token=" + token + "%0D"), authtestInvalid},
		{"line_break_before", tokentestRequest("access_token=%0D%0A" + token), authtestInvalid},
		{"line_break_inside", tokentestRequest("access_token=" + strings.Replace(token, ".", ".%0D%0A", 1)), authtestInvalid},
		{"nul_behind", tokentestRequest("access_token=" + token + "%00"), authtestInvalid},
		{"space_behind", tokentestRequest("access_token=" + token + "+"), authtestInvalid},
	}
	auth := tokentestAuth(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			authtestRefused(t, auth, test.request, test.want, token, other)
		})
	}
}

// Users do not know which cookies their browser keeps: from an older sign-in, for another path or
// domain, or of another application on the host.
func TestOneGoodTokenIsEnough(t *testing.T) {
	t.Parallel()
	token := authtestSignPayload(`"sub":"alice"`)
	longer := authtestSignRaw(`{"alg":"HS256"}`, `{"sub":"alice","exp":`+authtestIn(2*time.Hour)+`}`)
	expired := authtestSignRaw(`{"alg":"HS256"}`, `{"sub":"bob","exp":`+authtestIn(-time.Hour)+`}`)
	forged := authtestSign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 64)), authtestClaims("sub", "bob"))
	noUser := authtestSignPayload(`"name":"bob"`)
	tests := []struct {
		name    string
		request *http.Request
	}{
		{"old_cookie_first", tokentestRequest("", "Cookie", "session="+expired+"; session="+token)},
		{"old_cookie_last", tokentestRequest("", "Cookie", "session="+token+"; session="+expired)},
		{"forged_cookie", tokentestRequest("", "Cookie", "session="+forged+"; session="+token)},
		{"cookie_that_names_no_user", tokentestRequest("", "Cookie", "session="+noUser+"; session="+token)},
		{"cookie_of_another_application", tokentestRequest("", "Cookie", "session=0a1b2c; session="+token)},
		{"cookie_too_long", tokentestRequest("", "Cookie", "session="+strings.Repeat("x", 9000)+"; session="+token)},
		{"cookie_in_another_case", tokentestRequest("", "Cookie", "session="+strings.ToUpper(token)+"; session="+token)},
		{"two_good_cookies", tokentestRequest("", "Cookie", "session="+longer+"; session="+token)},
		{"header_beside_old_cookie", tokentestRequest("", "Authorization", "Bearer "+token, "Cookie", "session="+expired)},
		{"cookie_beside_old_header", tokentestRequest("", "Authorization", "Bearer "+expired, "Cookie", "session="+token)},
		{"cookie_beside_no_scheme", tokentestRequest("", "Authorization", forged, "Cookie", "session="+token)},
		{"cookie_beside_empty_header", tokentestRequest("", "Authorization", "Bearer ", "Cookie", "session="+token)},
		{"cookie_beside_undefined", tokentestRequest("", "Authorization", "Bearer undefined", "Cookie", "session="+token)},
		{"header_then_empty_header", tokentestRequest("", "Authorization", "Bearer "+token, "Authorization", "Bearer")},
		{"query_beside_old_cookie", tokentestRequest("access_token="+token, "Cookie", "session="+expired)},
		{"cookie_beside_old_query", tokentestRequest("access_token="+expired, "Cookie", "session="+token)},
		{"good_everywhere", tokentestRequest("access_token="+longer, "Authorization", "Bearer "+token, "Cookie", "session="+longer)},
		{"many_old_ones", tokentestRequest("", "Cookie", strings.Repeat("session=0a1b2c; session=x.y; ", 500)+"session="+token)},
	}
	auth := tokentestAuth(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if userID := authtestUser(t, auth, test.request); userID != "alice" {
				t.Errorf("user ID %q, want %q", userID, "alice")
			}
		})
	}
}

// The client could have sent only the token with the latest expiry.
func TestTheLatestExpiryOfAUsersTokensCounts(t *testing.T) {
	t.Parallel()
	auth := tokentestAuth(t)
	early, late := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(2*time.Hour).Truncate(time.Second)
	sign := func(expiry time.Time) string {
		return authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("exp", expiry.Unix()))
	}
	for name, request := range map[string]*http.Request{
		"late first": tokentestRequest("", "Cookie", "session="+sign(late)+"; session="+sign(early)),
		"late last":  tokentestRequest("", "Cookie", "session="+sign(early)+"; session="+sign(late)),
		"two places": tokentestRequest("", "Authorization", "Bearer "+sign(early), "Cookie", "session="+sign(late)),
	} {
		w := authtestServe(auth, request)
		if got, want := w.Header().Get("Test-Expiry"), late.UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("%s: got expiry %q, want %q", name, got, want)
		}
	}
}

func TestTheMostHelpfulOfSeveralRefusalsIsReported(t *testing.T) {
	t.Parallel()
	expired := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("exp", 1))
	forged := authtestSign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 64)), authtestClaims())
	locked := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("jti", "locked"))
	revoked := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("jti", "revoked"))
	long := strings.Repeat("x", 9000)
	lockedAnswer := authtestAnswer{status: 403, code: "account_locked", message: "the account is locked"}
	tests := []struct {
		name   string
		tokens []string
		want   authtestAnswer
		cause  string // expected in the log
	}{
		{"expired_over_malformed", []string{"0a1b2c", expired}, authtestExpired, "1 parts"},
		{"expired_over_forged", []string{expired, forged}, authtestExpired, "signature is invalid"},
		{"expired_over_revoked", []string{revoked, expired}, authtestExpired, "row 7"},
		{"expired_over_too_long", []string{long, expired}, authtestExpired, "9000 bytes"},
		{"expired_behind_many_malformed", append(slices.Repeat([]string{"0a1b2c"}, 99), expired), authtestExpired, "token is expired"},
		{"forged_over_too_long", []string{long, forged}, authtestInvalid, "signature is invalid"},
		{"the_application's_over_expired", []string{expired, locked, forged}, lockedAnswer, "account is locked"},
	}
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Cookie = "session"
		cfg.CheckFunc = tokentestCheck
	})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := tokentestRequest("", "Cookie", "session="+strings.Join(test.tokens, "; session="))
			authtestRefused(t, auth, request, test.want, expired, forged, locked, revoked, long)
			c, _ := gin.CreateTestContext(httptest.NewRecorder())
			c.Request = request
			_, err := auth.Authenticate(c)
			if err == nil || !strings.Contains(err.Error(), test.cause) {
				t.Errorf("got the error %v, want one that says %q", err, test.cause)
			}
			for _, token := range test.tokens {
				if authtestShares(fmt.Sprint(err), token) {
					t.Errorf("the error %v holds a part of a token", err)
				}
			}
		})
	}
}

func TestATokenThatCheckFuncRefusesIsIgnored(t *testing.T) {
	t.Parallel()
	sign := func(userID, id string) string {
		return authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("sub", userID, "jti", id))
	}
	var mu sync.Mutex
	checked := map[any]int{}
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Cookie = "session"
		cfg.CheckFunc = func(ctx context.Context, claims jwt.MapClaims) error {
			mu.Lock()
			defer mu.Unlock()
			checked[claims["jti"]]++
			return tokentestCheck(ctx, claims)
		}
	})
	for _, id := range []string{"revoked", "locked"} {
		for _, userID := range []string{"alice", "bob"} {
			cookies := "session=" + sign(userID, id) + "; session=" + sign("alice", "good") + "; session=" + sign(userID, id)
			w := authtestServe(auth, tokentestRequest("", "Cookie", cookies))
			if got := w.Header().Get("Test-User"); got != "alice" {
				t.Errorf("beside a token of %s that is %s: got %d and user ID %q", userID, id, w.Code, got)
			}
		}
	}
	if want := map[any]int{"revoked": 2, "locked": 2, "good": 4}; !maps.Equal(checked, want) {
		t.Errorf("CheckFunc was called %v times, want %v: once for each token of a request", checked, want)
	}
}

// A token that cannot be checked at this time may belong to another user.
func TestATemporaryErrorRefusesEvenBesideAValidToken(t *testing.T) {
	t.Parallel()
	good := authtestSignRaw(`{"alg":"HS256","kid":"known"}`, authtestPayload(`"sub":"alice","jti":"good"`))
	odd := authtestSignRaw(`{"alg":"HS256","kid":"other"}`, authtestPayload(`"sub":"alice","jti":"odd"`))
	maintenance := &ginsse.AuthError{Status: http.StatusServiceUnavailable, Code: "maintenance", Description: "back at noon"}
	tests := []struct {
		name string
		err  error
		want authtestAnswer // without a status, the token is ignored
	}{
		{"deadline", fmt.Errorf("internal detail: %w", context.DeadlineExceeded), authtestUnavailable},
		{"canceled", context.Canceled, authtestUnavailable},
		{"dial", &url.Error{Op: "Get", URL: "https://id.example", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, authtestUnavailable},
		{"lookup", &net.DNSError{Err: "no such host", Name: "id.example", IsNotFound: true}, authtestUnavailable},
		{"timeout", os.ErrDeadlineExceeded, authtestUnavailable},
		{"answer_of_the_application", fmt.Errorf("internal detail: %w", maintenance), authtestAnswer{status: 503, code: "maintenance", message: "back at noon"}},
		{"no_such_key", errors.New("no such key"), authtestAnswer{}},
		{"no_such_file", &fs.PathError{Op: "open", Path: "keys/other.pem", Err: syscall.ENOENT}, authtestAnswer{}},
		{"answer_that_is_final", &ginsse.AuthError{Status: http.StatusForbidden, Code: "unknown_key", Description: "no"}, authtestAnswer{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for name, change := range map[string]func(*ginsse.AuthConfig){
				"Keyfunc": func(cfg *ginsse.AuthConfig) {
					cfg.Key = nil
					cfg.Keyfunc = func(token *jwt.Token) (any, error) {
						if token.Header["kid"] != "known" {
							return nil, test.err
						}
						return authtestSecret, nil
					}
				},
				"CheckFunc": func(cfg *ginsse.AuthConfig) {
					cfg.CheckFunc = func(_ context.Context, claims jwt.MapClaims) error {
						if claims["jti"] != "good" {
							return test.err
						}
						return nil
					}
				},
			} {
				auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Cookie = "session"; change(cfg) })
				alone := tokentestRequest("", "Cookie", "session="+odd)
				both := tokentestRequest("", "Cookie", "session="+good+"; session="+odd)
				if test.want.status != 0 {
					authtestRefused(t, auth, alone, test.want, good, odd, "internal detail", "id.example")
					authtestRefused(t, auth, both, test.want, good, odd, "internal detail", "id.example")
				} else if userID := authtestUser(t, auth, both); userID != "alice" {
					t.Errorf("%s: user ID %q, want %q", name, userID, "alice")
				}
			}
		})
	}
}

// The work that an unauthenticated peer can cause must be bounded.
func TestRequestsWithManyTokensAreRefusedUnverified(t *testing.T) {
	t.Parallel()
	const most = 8
	tokens := make([]string, most+1)
	for i := range tokens {
		tokens[i] = authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("jti", i))
	}
	var verified atomic.Int64
	auth := tokentestAuthWith(t, func(*jwt.Token) (any, error) {
		verified.Add(1)
		return authtestSecret, nil
	})
	all := func(tokens []string) *http.Request {
		return tokentestRequest("", "Cookie", "session="+strings.Join(tokens, "; session=")+"; session="+tokens[0])
	}
	if w := authtestServe(auth, all(tokens[:most])); w.Header().Get("Test-User") != "alice" || verified.Load() != most {
		t.Errorf("%d tokens: got %d %s, and %d were verified", most, w.Code, w.Body, verified.Load())
	}
	verified.Store(0)
	authtestRefused(t, auth, all(tokens), authtestCrowded, tokens...)
	if verified.Load() != 0 {
		t.Errorf("%d tokens: %d were verified, want none", len(tokens), verified.Load())
	}
}

// The cause goes to the log, for the developer of the application.
func TestTheLogExplainsAMalformedAuthorizationHeader(t *testing.T) {
	t.Parallel()
	token := authtestSignPayload(`"sub":"alice"`)
	for header, want := range map[string]string{
		token:                      "the word Bearer, a space and the token",
		"Basic " + token:           "not Bearer",
		"Bearer ":                  "no token after Bearer",
		"Bearer a b":               "more than one word",
		"Bearer undefined":         "in Authorization",
		"Bearer \"" + token + "\"": "base64url",
	} {
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		c.Request = tokentestRequest("", "Authorization", header)
		_, err := tokentestAuth(t).Authenticate(c)
		if err == nil || !strings.Contains(err.Error(), want) || authtestShares(err.Error(), token) {
			t.Errorf("%.20q: got the error %v, want one that says %q", header, err, want)
		}
	}
}

func TestTokensInOtherPlacesAreIgnored(t *testing.T) {
	t.Parallel()
	token := authtestSignPayload(`"sub":"alice"`)
	authtestRefused(t, authtestAuth(t, nil), tokentestRequest("access_token="+token, "Cookie", "session="+token), authtestMissing, token)
}

func TestTokenInTheQueryIsRefusedUnlessHidden(t *testing.T) {
	t.Parallel()
	auth := tokentestAuth(t)
	token := authtestSignPayload(`"sub":"alice"`)
	engine := gin.New() // without HideQueryToken
	engine.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) { c.Header("Test-User", ginsse.UserID(c)) })
	for name, request := range map[string]*http.Request{
		"alone":           tokentestRequest("access_token=" + token),
		"beside a header": tokentestRequest("access_token="+token, "Authorization", "Bearer "+token),
		"empty":           tokentestRequest("access_token="),
	} {
		t.Log(name)
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, request)
		authtestCheckAnswer(t, w.Result(), authtestNotHidden, token)
	}
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, tokentestRequest("a=1", "Authorization", "Bearer "+token))
	if w.Header().Get("Test-User") != "alice" {
		t.Errorf("without a token in the query: got %d %s", w.Code, w.Body)
	}
}

func TestTokensOfAMebibyteAreRefused(t *testing.T) {
	t.Parallel()
	auth := tokentestAuth(t)
	server := startServer(t, authtestEngine(auth), func(s *http.Server) { s.MaxHeaderBytes = 4 << 20 }, (*httptest.Server).Start)
	long := strings.Repeat("QmFzZTY0", 1<<17)
	for name, token := range map[string]string{
		"letters": long,
		"dots":    strings.Repeat(".", 1<<20),
		"payload": authtestEncode(`{"alg":"HS256"}`) + "." + long + ".c2lnbmF0dXJl",
		// The token is signed, so only its length is wrong.
		"signed": authtestSignPayload(`"sub":"alice","pad":"` + strings.Repeat("x", 3<<18) + `"`),
	} {
		for place, request := range map[string]*http.Request{
			"header": tokentestRequest("", "Authorization", "Bearer "+token),
			"cookie": tokentestRequest("", "Cookie", "session="+token),
			"query":  tokentestRequest("access_token=" + token),
		} {
			t.Run(name+"_in_"+place, func(t *testing.T) {
				request := request.Clone(t.Context())
				request.RequestURI = ""
				request.URL.Scheme, request.URL.Host = "http", server.Listener.Addr().String()
				response, err := server.Client().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Body.Close() }()
				authtestCheckAnswer(t, response, authtestTooLong, token)
			})
		}
	}
}

func TestTokenLengthIsBounded(t *testing.T) {
	t.Parallel()
	const bound = 8 << 10
	auth := tokentestAuth(t)
	short := authtestSignPayload(`"sub":"alice","pad":"` + strings.Repeat("x", 5<<10) + `"`)
	long := authtestSignPayload(`"sub":"alice","pad":"` + strings.Repeat("x", 7<<10) + `"`)
	if len(short) > bound || len(long) <= bound {
		t.Fatalf("the tokens have %d and %d bytes", len(short), len(long))
	}
	if userID := authtestUser(t, auth, authtestBearer(short)); userID != "alice" {
		t.Errorf("user ID %q, want %q", userID, "alice")
	}
	authtestRefused(t, auth, authtestBearer(long), authtestTooLong, long)
}

func TestHideQueryTokenLeavesTheRestOfTheURL(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query, want string }{
		{"none", "", ""},
		{"nothing_to_hide", "a=1&b=%20&&c", "a=1&b=%20&&c"},
		{"alone", "access_token=SECRET", ""},
		{"first", "access_token=SECRET&a=1&b=2", "a=1&b=2"},
		{"middle", "a=1&access_token=SECRET&b=2", "a=1&b=2"},
		{"last", "a=1&b=2&access_token=SECRET", "a=1&b=2"},
		{"several", "access_token=SECRET&a=1&access_token=SECRET2", "a=1"},
		{"name_escaped", "%61ccess%5ftoken=SECRET&a=1", "a=1"},
		{"no_value", "access_token&a=1", "a=1"},
		{"bad_escape_in_value", "access_token=SECRET%zz&a=1", "a=1"},
		{"equals_signs_in_value", "access_token=SECRET==&a=1", "a=1"},
		{"order_and_escapes_kept", "z=%2F&access_token=SECRET&a=+&z=2", "z=%2F&a=+&z=2"},
		{"similar_names_kept", "access_tokens=1&x_access_token=2&Access_Token=3", "access_tokens=1&x_access_token=2&Access_Token=3"},
		// Go ignores a pair with a semicolon.
		{"semicolon_before", "a=1;access_token=SECRET&b=2", "b=2"},
		{"semicolon_before_escaped_name", "a=1;access%5Ftoken=SECRET&b=2", "b=2"},
		{"semicolon_after", "access_token=SECRET;a=1&b=2", "b=2"},
		{"semicolon_elsewhere", "a=1;c=3&access_token=SECRET", "a=1;c=3"},
	}
	auth := tokentestAuth(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := tokentestRequest(test.query)
			before := *request.URL
			var seen *http.Request
			tokentestHide(auth, request, func(c *gin.Context) { seen = c.Request })
			if seen.URL.RawQuery != test.want {
				t.Errorf("got query %q, want %q", seen.URL.RawQuery, test.want)
			}
			uri := "/events"
			if test.want != "" {
				uri += "?" + test.want
			}
			if seen.RequestURI != uri {
				t.Errorf("got RequestURI %q, want %q", seen.RequestURI, uri)
			}
			if *request.URL != before {
				t.Errorf("the caller's URL has become %v", request.URL)
			}
		})
	}
}

func TestHideQueryTokenMayRunTwice(t *testing.T) {
	t.Parallel()
	auth := tokentestAuth(t)
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) { c.String(http.StatusOK, ginsse.UserID(c)) })
	token := authtestSignPayload(`"sub":"alice"`)
	w := httptest.NewRecorder()
	auth.HideQueryToken(auth.HideQueryToken(engine)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events?access_token="+token, http.NoBody))
	if w.Body.String() != "alice" {
		t.Errorf("got %d %s, want alice", w.Code, w.Body)
	}
}

func TestHiddenTokensOfTwoAuthsStayApart(t *testing.T) {
	t.Parallel()
	var auths []*ginsse.Auth
	engine := gin.New()
	handler := http.Handler(engine)
	for _, name := range []string{"first", "second"} {
		auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.InsecureQueryParameter = name })
		handler = auth.HideQueryToken(handler)
		auths = append(auths, auth)
	}
	for i, path := range []string{"/first", "/second"} {
		engine.GET(path, auths[i].RequireUser(), func(c *gin.Context) { c.String(http.StatusOK, ginsse.UserID(c)) })
	}
	alice, bob := authtestSignPayload(`"sub":"alice"`), authtestSignPayload(`"sub":"bob"`)
	for path, want := range map[string]string{"/first": "alice", "/second": "bob"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?second="+bob+"&first="+alice, http.NoBody))
		if w.Body.String() != want {
			t.Errorf("%s: got %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
}

// A client must not be able to cause much work with many cookies. This test is not parallel,
// because it measures the allocations of the process.
func TestRedactingManyCookiesIsCheap(t *testing.T) {
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Cookie = "session" })
	r := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
	r.Header.Set("Cookie", strings.Repeat("a="+strings.Repeat("x", 300)+"; ", 2900)+"session=SECRET")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := authtestServe(auth, r)
	runtime.ReadMemStats(&after)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("got %d", w.Code)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
		t.Errorf("%d bytes were allocated for a header of 1 MB", allocated)
	}
}

func FuzzHideQueryToken(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"a=1", "&b=2"}, {"a=1;b", ";c"}, {"%zz", "%zz"}, {"access_token=x", "&access_token=y"},
		{"?", "?&#"}, {"a=%26", "=="}, {"a=1&&", "&&"}, {"\x00", "\xff"}, {"access_token", "+"},
	} {
		f.Add(seed[0], seed[1])
	}
	auth := tokentestAuth(f)
	token := authtestSignPayload(`"sub":"alice"`)
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, token) {
			t.Skip("the token is in another place too")
		}
		raw := before + "&access_token=" + token + after
		request := tokentestRequest("")
		request.URL.RawQuery, request.RequestURI = raw, "/events?"+raw
		want, _ := url.ParseQuery(raw)
		tokens := want["access_token"]
		want.Del("access_token")

		tokentestHide(auth, request, func(c *gin.Context) {
			query := c.Request.URL.RawQuery
			if strings.Contains(query, token) || strings.Contains(c.Request.RequestURI, token) {
				t.Errorf("%q has become %q and %q, with the token", raw, query, c.Request.RequestURI)
			}
			if dump := tokentestDump(c); strings.Contains(dump, token) {
				t.Errorf("%q: the token can be printed: %s", raw, dump)
			}
			got, _ := url.ParseQuery(query)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q has become %q: other parameters are %v, want %v", raw, query, got, want)
			}
			identity, err := auth.Authenticate(c)
			if err == nil && (identity.UserID != "alice" || len(tokens) == 0) {
				t.Errorf("%q lets in %+v", raw, identity)
			}
		})
	})
}

// TestNoTokenReachesALogLine is not parallel, because gin's mode and writers are global.
func TestNoTokenReachesALogLine(t *testing.T) {
	good := authtestSignPayload(`"sub":"alice"`)
	other := authtestSignPayload(`"sub":"bob"`)
	expired := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("exp", 1))
	places := map[string]func(token string) *http.Request{
		"header": func(token string) *http.Request { return tokentestRequest("", "Authorization", "Bearer "+token) },
		"cookie": func(token string) *http.Request { return tokentestRequest("", "Cookie", "theme=dark; session="+token) },
		"query":  func(token string) *http.Request { return tokentestRequest("a=1&access_token=" + token) },
	}
	ends := []struct {
		name    string
		status  int
		handler gin.HandlerFunc
	}{
		{"answers", 200, func(c *gin.Context) { c.Writer.WriteHeaderNow() }},
		{"answers_404", 404, func(c *gin.Context) { c.AbortWithStatus(http.StatusNotFound) }},
		{"panics_with_a_value", 500, func(*gin.Context) { panic("handler failed") }},
		{"panics_with_abort_handler", 200, func(*gin.Context) { panic(http.ErrAbortHandler) }},
		{"panics_with_broken_pipe", 200, func(*gin.Context) { panic(fmt.Errorf("writing: %w", syscall.EPIPE)) }},
	}
	for _, mode := range []string{gin.DebugMode, gin.ReleaseMode} {
		for place, request := range places {
			t.Run(mode+"_"+place, func(t *testing.T) {
				for _, end := range ends {
					for _, path := range []string{"/events", "/ordinary"} {
						r := request(good)
						r.URL.Path, r.RequestURI = path, strings.Replace(r.RequestURI, "/events", path, 1)
						logged, status := tokentestLog(t, mode, tokentestAuth(t), r, end.handler)
						if status != end.status {
							t.Errorf("%s %s: got status %d, want %d", path, end.name, status, end.status)
						}
						tokentestWantHidden(t, path+" "+end.name, logged, good)
					}
				}
				for name, r := range map[string]*http.Request{
					"expired":     request(expired),
					"forged":      request(good + "x"),
					"truncated":   request(good[:len(good)/2]),
					"with junk":   request(good + `" ,%zz;b`),
					"two words":   request(good + " " + good),
					"too long":    request(strings.Repeat(good, 50)),
					"different":   tokentestRequest("access_token="+expired, "Authorization", "Bearer "+good, "Cookie", "session="+other),
					"several bad": tokentestRequest("access_token="+expired, "Authorization", "Bearer "+good+"x", "Cookie", "session="+other[:len(other)-9]),
					"no scheme":   tokentestRequest("", "Authorization", good),
					"other site": func() *http.Request {
						r := tokentestRequest("", "Cookie", "session="+good)
						r.Header.Set("Sec-Fetch-Site", "cross-site")
						return r
					}(),
				} {
					logged, status := tokentestLog(t, mode, tokentestAuth(t), r, func(*gin.Context) {})
					if status < 400 || status > 403 {
						t.Errorf("%s: got status %d, want a refusal", name, status)
					}
					tokentestWantHidden(t, name, logged, good, expired, other)
				}
				for name, keyfunc := range map[string]jwt.Keyfunc{
					"keyfunc fails":  func(*jwt.Token) (any, error) { return nil, errors.New("no such key") },
					"keyfunc panics": func(*jwt.Token) (any, error) { panic("keyfunc failed") },
					"keyfunc aborts": func(*jwt.Token) (any, error) { panic(http.ErrAbortHandler) },
				} {
					logged, _ := tokentestLog(t, mode, tokentestAuthWith(t, keyfunc), request(good), func(*gin.Context) {})
					tokentestWantHidden(t, name, logged, good)
				}
				// Without the kit, the log must contain the token.
				logged, _ := tokentestLog(t, mode, nil, request(good), func(*gin.Context) {})
				if !authtestShares(logged, good) {
					t.Errorf("without the kit the log does not hold the token:\n%s", logged)
				}
			})
		}
	}
}

// This test is not parallel, because gin's mode and writers are global.
func TestApplicationAuthenticationHidesTheHeaderFromLogs(t *testing.T) {
	identify := map[string]func(*gin.Context) (ginsse.Identity, error){
		"passes":  func(*gin.Context) (ginsse.Identity, error) { return ginsse.Identity{UserID: "alice"}, nil },
		"refuses": func(*gin.Context) (ginsse.Identity, error) { return ginsse.Identity{}, errors.New("no") },
		"panics":  func(*gin.Context) (ginsse.Identity, error) { panic(http.ErrAbortHandler) },
	}
	const token = "opaque-4f9d1c7e2b8a6053"
	for name, identify := range identify {
		auth, err := ginsse.NewAuthFunc(identify)
		if err != nil {
			t.Fatal(err)
		}
		request := tokentestRequest("", "Authorization", "Bearer "+token)
		logged, _ := tokentestLog(t, gin.DebugMode, auth, request, func(*gin.Context) {})
		tokentestWantHidden(t, name, logged, token)
	}
}

func TestRedactionKeepsOtherHeadersAndTheHandlersCopy(t *testing.T) {
	t.Parallel()
	auth := tokentestAuth(t)
	token := authtestSignPayload(`"sub":"alice"`)
	var inside, after *http.Request
	engine := gin.New()
	engine.Use(func(c *gin.Context) {
		c.Next()
		after = c.Request
	})
	engine.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) { inside = c.Request })
	request := tokentestRequest("", "Authorization", "Bearer "+token, "Cookie", "theme=dark; session="+token+`; lang="de"`, "Last-Event-Id", "7")
	engine.ServeHTTP(httptest.NewRecorder(), request)

	// The handler may keep the request's header, for example to call another service.
	if got := inside.Header.Get("Authorization"); got != "Bearer "+token {
		t.Errorf("the handler's Authorization has become %q", got)
	}
	want := http.Header{
		"Authorization": {"redacted"},
		"Cookie":        {`theme=dark; session=redacted; lang="de"`},
		"Last-Event-Id": {"7"},
	}
	if fmt.Sprint(after.Header) != fmt.Sprint(want) {
		t.Errorf("after the handler the header is %q, want %q", after.Header, want)
	}
}

// Helpers of the tests of tokens.

// tokentestCheck is a CheckFunc that decides by the claim jti.
func tokentestCheck(_ context.Context, claims jwt.MapClaims) error {
	switch claims["jti"] {
	case "revoked":
		return errors.New("row 7 of sessions says so")
	case "locked":
		return &ginsse.AuthError{Status: http.StatusForbidden, Code: "account_locked", Description: "the account is locked"}
	}
	return nil
}

// tokentestAuth returns an Auth that accepts tokens in the header, a cookie and a query parameter.
func tokentestAuth(t testing.TB) *ginsse.Auth {
	t.Helper()
	return tokentestAuthWith(t, func(*jwt.Token) (any, error) { return authtestSecret, nil })
}

func tokentestAuthWith(t testing.TB, keyfunc jwt.Keyfunc) *ginsse.Auth {
	t.Helper()
	return authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Key, cfg.Keyfunc = nil, keyfunc
		cfg.Cookie = "session"
		cfg.InsecureQueryParameter = "access_token"
		cfg.AllowedOrigins = []string{"https://app.example.org"}
	})
}

// tokentestRequest returns a request for the stream with a raw query and headers.
func tokentestRequest(query string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
	if query != "" {
		r.URL.RawQuery, r.RequestURI = query, "/events?"+query
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func tokentestForm(body string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/events", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// tokentestHide serves r with handler behind HideQueryToken.
func tokentestHide(auth *ginsse.Auth, r *http.Request, handler gin.HandlerFunc) {
	engine := gin.New()
	engine.GET("/events", handler)
	auth.HideQueryToken(engine).ServeHTTP(httptest.NewRecorder(), r)
}

// tokentestDump prints everything that a log formatter can reach, with each verb.
func tokentestDump(c *gin.Context) string {
	var b strings.Builder
	for _, value := range []any{c.Request, *c.Request, c.Request.URL, c.Request.Context(), c.Keys, c.Errors} {
		fmt.Fprintf(&b, "%v\n%+v\n%#v\n%s\n", value, value, value, value)
	}
	return b.String()
}

// tokentestLog serves r in a mode of gin, with the handler end at /events and /ordinary. It returns
// the log and the status. If auth is nil, the kit is not used.
func tokentestLog(t *testing.T, mode string, auth *ginsse.Auth, r *http.Request, end gin.HandlerFunc) (logged string, status int) {
	t.Helper()
	var out bytes.Buffer
	oldMode, oldWriter, oldErrorWriter := gin.Mode(), gin.DefaultWriter, gin.DefaultErrorWriter
	gin.SetMode(mode)
	gin.DefaultWriter, gin.DefaultErrorWriter = &out, &out
	defer func() {
		gin.SetMode(oldMode)
		gin.DefaultWriter, gin.DefaultErrorWriter = oldWriter, oldErrorWriter
	}()

	var current *gin.Context
	all := func(param gin.LogFormatterParams) string {
		return fmt.Sprintf("%v\n%+v\n%#v\n", param, param, param) + tokentestDump(current)
	}
	engine := gin.New()
	stream, ordinary := gin.HandlersChain{end}, gin.HandlersChain{end}
	if auth != nil {
		stream = gin.HandlersChain{ginsse.Middleware(auth), end}
		ordinary = gin.HandlersChain{auth.RequireUser(), end}
	}
	engine.Use(func(c *gin.Context) { current = c }, gin.Logger(), gin.LoggerWithFormatter(all), gin.Recovery())
	engine.GET("/events", stream...)
	engine.GET("/ordinary", ordinary...)
	handler := http.Handler(engine)
	if auth != nil {
		handler = auth.HideQueryToken(engine)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if !strings.Contains(out.String(), r.URL.Path) {
		t.Errorf("nothing was logged: %q", out.String())
	}
	return out.String(), w.Code
}

// tokentestWantHidden fails the test for each log line that contains a token.
func tokentestWantHidden(t *testing.T, when, logged string, tokens ...string) {
	t.Helper()
	for line := range strings.Lines(logged) {
		for _, token := range tokens {
			if authtestShares(line, token) {
				t.Errorf("%s: a line of the log holds a part of the token: %s", when, line)
			}
		}
	}
}

func TestAuthReportsWhereItLookedForAToken(t *testing.T) {
	t.Parallel()
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: bytes.Repeat([]byte("k"), 32), Methods: []string{"HS256"}, Cookie: "__Host-session"})
	if err != nil {
		t.Fatal(err)
	}
	var logged string
	engine := gin.New()
	engine.GET("/", func(c *gin.Context) { c.Next(); logged = c.Errors.String() }, auth.RequireUser())
	engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if !strings.Contains(logged, `there is no token in Authorization or the cookie "__Host-session"`) {
		t.Errorf("the log says %q", logged)
	}
}

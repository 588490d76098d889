package ginsse_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

func TestAuthAcceptsEachAlgorithmWithItsKey(t *testing.T) {
	t.Parallel()
	keys := authtestKeys()
	tests := []struct {
		name    string
		method  jwt.SigningMethod
		private any
		public  any
	}{
		{"hs256", jwt.SigningMethodHS256, authtestSecret, authtestSecret},
		{"hs384", jwt.SigningMethodHS384, authtestSecret, authtestSecret},
		{"hs512", jwt.SigningMethodHS512, authtestSecret, authtestSecret},
		{"hs256_key_as_string", jwt.SigningMethodHS256, authtestSecret, string(authtestSecret)},
		{"hs256_shortest_key", jwt.SigningMethodHS256, authtestSecret[:32], authtestSecret[:32]},
		{"hs384_shortest_key", jwt.SigningMethodHS384, authtestSecret[:48], authtestSecret[:48]},
		{"rs256", jwt.SigningMethodRS256, keys.rsa, &keys.rsa.PublicKey},
		{"rs384", jwt.SigningMethodRS384, keys.rsa, &keys.rsa.PublicKey},
		{"rs512", jwt.SigningMethodRS512, keys.rsa, &keys.rsa.PublicKey},
		{"ps256", jwt.SigningMethodPS256, keys.rsa, &keys.rsa.PublicKey},
		{"ps384", jwt.SigningMethodPS384, keys.rsa, &keys.rsa.PublicKey},
		{"ps512", jwt.SigningMethodPS512, keys.rsa, &keys.rsa.PublicKey},
		{"es256", jwt.SigningMethodES256, keys.p256, &keys.p256.PublicKey},
		{"es384", jwt.SigningMethodES384, keys.p384, &keys.p384.PublicKey},
		{"es512", jwt.SigningMethodES512, keys.p521, &keys.p521.PublicKey},
		{"eddsa", jwt.SigningMethodEdDSA, keys.ed, keys.ed.Public()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := authtestSign(t, test.method, test.private, authtestClaims())
			for how, auth := range map[string]*ginsse.Auth{
				"Key": authtestAuth(t, func(cfg *ginsse.AuthConfig) {
					cfg.Methods, cfg.Key = []string{test.method.Alg()}, test.public
				}),
				"Keyfunc": authtestAuth(t, func(cfg *ginsse.AuthConfig) {
					cfg.Methods, cfg.Key = []string{test.method.Alg()}, nil
					cfg.Keyfunc = func(*jwt.Token) (any, error) {
						if text, ok := test.public.(string); ok {
							return []byte(text), nil
						}
						return test.public, nil
					}
				}),
			} {
				if userID := authtestUser(t, auth, authtestBearer(token)); userID != "alice" {
					t.Errorf("with %s: user ID %q, want %q", how, userID, "alice")
				}
			}
		})
	}
}

func TestAuthAcceptsSeveralAlgorithmsOfOneKind(t *testing.T) {
	t.Parallel()
	keys := authtestKeys()
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Methods, cfg.Key = []string{"RS256", "PS256"}, &keys.rsa.PublicKey
	})
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodRS256, jwt.SigningMethodPS256} {
		token := authtestSign(t, method, keys.rsa, authtestClaims())
		if userID := authtestUser(t, auth, authtestBearer(token)); userID != "alice" {
			t.Errorf("%s: user ID %q, want %q", method.Alg(), userID, "alice")
		}
	}
}

func TestAuthKeepsTheUserIDVerbatim(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("u", eventlog.MaxNameBytes)
	tests := []struct {
		name, claim, claims, want string
	}{
		{"string", "", `"sub":"alice"`, "alice"},
		{"not_trimmed_not_folded", "", `"sub":" Alice "`, " Alice "},
		{"not_ascii", "", `"sub":"Ålice 李"`, "Ålice 李"},
		{"digits_in_a_string", "", `"sub":"9007199254740993"`, "9007199254740993"},
		{"longest", "", `"sub":"` + long + `"`, long},
		{"integer", "", `"sub":42`, "42"},
		{"zero", "", `"sub":0`, "0"},
		{"negative_integer", "", `"sub":-7`, "-7"},
		{"integer_of_10_digits", "", `"sub":1234567890`, "1234567890"},
		{"integer_2_to_the_53", "", `"sub":9007199254740992`, "9007199254740992"},
		{"integer_minus_2_to_the_53", "", `"sub":-9007199254740992`, "-9007199254740992"},
		{"custom_claim", "uid", `"uid":"u-1","sub":"alice"`, "u-1"},
		{"custom_claim_with_a_url_for_name", "https://example.com/uid", `"https://example.com/uid":77`, "77"},
		{"sub_variants_beside_a_custom_claim", "uid", `"uid":"u-1","SUB":"alice"`, "u-1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.UserIDClaim = test.claim })
			if got := authtestUser(t, auth, authtestBearer(authtestSignPayload(test.claims))); got != test.want {
				t.Errorf("user ID %q, want %q", got, test.want)
			}
		})
	}
}

func TestAuthAcceptsIssuerAndAudienceThatMatch(t *testing.T) {
	t.Parallel()
	auth := authtestStrictAuth(t)
	for name, audience := range map[string]any{
		"string": authtestAudience,
		"list":   []string{"billing", authtestAudience},
	} {
		token := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("iss", authtestIssuer, "aud", audience))
		if userID := authtestUser(t, auth, authtestBearer(token)); userID != "alice" {
			t.Errorf("audience as a %s: user ID %q, want %q", name, userID, "alice")
		}
	}
}

// The test uses the clock of the bubble.
func TestAuthChecksTimesExactlyWithLeeway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Leeway = 10 * time.Second })
		start := time.Now()
		token := authtestSign(t, jwt.SigningMethodHS256, authtestSecret,
			authtestClaims("nbf", start.Add(time.Minute).Unix(), "exp", start.Add(time.Hour).Unix()))
		steps := []struct {
			at     time.Duration
			answer authtestAnswer
		}{
			{50*time.Second - 1, authtestInvalid},
			{50 * time.Second, authtestAnswer{}},
			{time.Hour + 10*time.Second - 1, authtestAnswer{}},
			{time.Hour + 10*time.Second, authtestExpired},
		}
		for _, step := range steps {
			pass(time.Until(start.Add(step.at)))
			if step.answer != (authtestAnswer{}) {
				authtestRefused(t, auth, authtestBearer(token), step.answer, token)
				continue
			}
			w := authtestServe(auth, authtestBearer(token))
			want := start.Add(time.Hour + 10*time.Second).UTC().Format(time.RFC3339Nano)
			if got := w.Header().Get("Test-Expiry"); got != want {
				t.Errorf("after %v: expiry %q, want exp plus leeway, %q", step.at, got, want)
			}
		}
	})
}

func TestAuthAcceptsAFarExpiry(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, nil)
	for _, exp := range []string{"1e12", "253402300800", "1000000000000000000"} {
		token := authtestSignRaw(`{"alg":"HS256"}`, `{"sub":"alice","exp":`+exp+`}`)
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		c.Request = authtestBearer(token)
		identity, err := auth.Authenticate(c)
		if err != nil {
			t.Errorf("exp %s: %v", exp, err)
		} else if identity.Expiry.Before(time.Now().AddDate(1000, 0, 0)) {
			t.Errorf("exp %s: expiry %v, want one that is far", exp, identity.Expiry)
		}
	}
}

func TestAuthRefusesTokensThatProveNothing(t *testing.T) {
	t.Parallel()
	good := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("iss", authtestIssuer, "aud", authtestAudience))
	header, payload, signature := authtestParts(good)
	_, otherPayload, _ := authtestParts(authtestSign(t, jwt.SigningMethodHS256, authtestSecret,
		authtestClaims("sub", "mallory", "iss", authtestIssuer, "aud", authtestAudience)))
	valid := `"iss":"` + authtestIssuer + `","aud":"` + authtestAudience + `","sub":"alice"`
	tests := []struct{ name, token string }{
		{"alg_none", authtestSign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, authtestClaims("iss", authtestIssuer, "aud", authtestAudience))},
		{"alg_none_with_signature", authtestEncode(`{"alg":"none"}`) + "." + payload + "." + signature},
		{"alg_none_in_odd_case", authtestEncode(`{"alg":"nOnE"}`) + "." + payload + "."},
		{"alg_empty", authtestSignRaw(`{"alg":""}`, authtestPayload(valid))},
		{"alg_missing", authtestSignRaw(`{"typ":"JWT"}`, authtestPayload(valid))},
		{"alg_not_a_string", authtestSignRaw(`{"alg":["HS256"]}`, authtestPayload(valid))},
		{"alg_unknown", authtestSignRaw(`{"alg":"HS257"}`, authtestPayload(valid))},
		{"alg_in_lower_case", authtestSignRaw(`{"alg":"hs256"}`, authtestPayload(valid))},
		{"alg_outside_the_list", authtestSign(t, jwt.SigningMethodHS512, authtestSecret, authtestClaims("iss", authtestIssuer, "aud", authtestAudience))},
		{"alg_of_another_kind", authtestSign(t, jwt.SigningMethodRS256, authtestKeys().rsa, authtestClaims("iss", authtestIssuer, "aud", authtestAudience))},
		{"signed_with_another_key", authtestSign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 64)), authtestClaims("iss", authtestIssuer, "aud", authtestAudience))},
		{"signed_with_nothing", authtestSign(t, jwt.SigningMethodHS256, []byte{}, authtestClaims("iss", authtestIssuer, "aud", authtestAudience))},
		{"payload_exchanged", header + "." + otherPayload + "." + signature},
		{"signature_missing", header + "." + payload + "."},
		{"signature_truncated", strings.TrimSuffix(good, good[len(good)-8:])},
		{"signature_padded", good + "="},
		{"signature_in_another_spelling", authtestRespell(good)},
		{"line_feed_behind", good + "\n"},
		{"line_break_inside", header + ".\r\n" + payload + "." + signature},
		{"two_segments", header + "." + payload},
		{"four_segments", good + ".e30"},
		{"five_segments_of_a_jwe", good + ".e30.e30"},
		{"dots_only", "..................."},
		{"not_base64", "!!!!!!!!.????????.########"},
		{"header_null", authtestSignRaw(`null`, authtestPayload(valid))},
		{"header_not_json", authtestSignRaw(`{"alg":"HS256"`, authtestPayload(valid))},
		{"payload_null", authtestSignRaw(`{"alg":"HS256"}`, `null`)},
		{"payload_a_list", authtestSignRaw(`{"alg":"HS256"}`, `[]`)},
		{"payload_not_json", authtestSignRaw(`{"alg":"HS256"}`, `{"sub":"alice"`)},
		{"payload_empty", authtestSignRaw(`{"alg":"HS256"}`, ``)},
		{"crit", authtestSignRaw(`{"alg":"HS256","crit":["exp2"],"exp2":1}`, authtestPayload(valid))},
		{"crit_empty", authtestSignRaw(`{"alg":"HS256","crit":[]}`, authtestPayload(valid))},
		{"crit_null", authtestSignRaw(`{"alg":"HS256","crit":null}`, authtestPayload(valid))},
		{"not_yet_valid", authtestSignPayload(valid + `,"nbf":` + authtestIn(30*time.Minute))},
		{"nbf_a_string", authtestSignPayload(valid + `,"nbf":"0"`)},
		{"no_exp", authtestSignRaw(`{"alg":"HS256"}`, `{`+valid+`}`)},
		{"exp_null", authtestSignRaw(`{"alg":"HS256"}`, `{`+valid+`,"exp":null}`)},
		{"exp_a_string", authtestSignRaw(`{"alg":"HS256"}`, `{`+valid+`,"exp":"`+authtestIn(time.Hour)+`"}`)},
		{"exp_in_another_case", authtestSignRaw(`{"alg":"HS256"}`, `{`+valid+`,"EXP":`+authtestIn(time.Hour)+`}`)},
		{"issuer_wrong", authtestSignPayload(`"iss":"https://other.example","aud":"` + authtestAudience + `","sub":"alice"`)},
		{"issuer_with_slash", authtestSignPayload(`"iss":"` + authtestIssuer + `/","aud":"` + authtestAudience + `","sub":"alice"`)},
		{"issuer_missing", authtestSignPayload(`"aud":"` + authtestAudience + `","sub":"alice"`)},
		{"issuer_a_list", authtestSignPayload(`"iss":["` + authtestIssuer + `"],"aud":"` + authtestAudience + `","sub":"alice"`)},
		{"audience_wrong", authtestSignPayload(`"iss":"` + authtestIssuer + `","aud":"billing","sub":"alice"`)},
		{"audience_list_without_ours", authtestSignPayload(`"iss":"` + authtestIssuer + `","aud":["billing","mail"],"sub":"alice"`)},
		{"audience_list_empty", authtestSignPayload(`"iss":"` + authtestIssuer + `","aud":[],"sub":"alice"`)},
		{"audience_missing", authtestSignPayload(`"iss":"` + authtestIssuer + `","sub":"alice"`)},
	}
	auth := authtestStrictAuth(t)
	if userID := authtestUser(t, auth, authtestBearer(good)); userID != "alice" {
		t.Fatalf("the good token gives user ID %q", userID)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			authtestRefused(t, auth, authtestBearer(test.token), authtestInvalid, test.token)
		})
	}
}

func TestAuthRefusesInvalidUserIDs(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, claims string }{
		{"missing", `"name":"alice"`},
		{"empty", `"sub":""`},
		{"null", `"sub":null`},
		{"too_long", `"sub":"` + strings.Repeat("u", eventlog.MaxNameBytes+1) + `"`},
		{"too_long_in_bytes", `"sub":"` + strings.Repeat("李", eventlog.MaxNameBytes/3+1) + `"`},
		{"nul", `"sub":"ali\u0000ce"`},
		{"line_feed", `"sub":"alice\n"`},
		{"carriage_return", `"sub":"\ralice"`},
		{"escape", `"sub":"\u001b[31malice"`},
		{"delete", `"sub":"alice\u007f"`},
		{"c1_control", `"sub":"alice\u0085"`},
		{"bool", `"sub":true`},
		{"list", `"sub":["alice"]`},
		{"object", `"sub":{"id":"alice"}`},
		{"beyond_2_to_the_53", `"sub":9007199254740993`},
		{"beyond_minus_2_to_the_53", `"sub":-9007199254740993`},
		{"beyond_int64", `"sub":18446744073709551616`},
		{"fraction", `"sub":1.5`},
		{"integer_as_float", `"sub":1.0`},
		{"exponent", `"sub":1e3`},
		{"capital_exponent", `"sub":1E3`},
		{"minus_zero", `"sub":-0`},
		{"replacement_character", `"sub":"ali\ufffdce"`},
		{"half_of_a_surrogate_pair", `"sub":"ali\ud800ce"`},
		{"other_half_of_a_surrogate_pair", `"sub":"ali\udfffce"`},
		{"bytes_that_are_no_utf8", `"sub":"ali` + "\xff" + `ce"`},
		{"upper_case_beside", `"sub":"alice","SUB":"admin"`},
		{"upper_case_before", `"Sub":"admin","sub":"alice"`},
		{"upper_case_with_the_same_value", `"sub":"alice","SUB":"alice"`},
		{"long_s_beside", `"sub":"alice","ſub":"admin"`},
		{"upper_case_alone", `"SUB":"admin"`},
	}
	auth := authtestAuth(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := authtestSignPayload(test.claims)
			authtestRefused(t, auth, authtestBearer(token), authtestInvalid, token)
		})
	}
}

func TestAuthReportsThatTheTokenExpired(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, exp string }{
		{"hour_ago", authtestIn(-time.Hour)},
		{"second_ago", authtestIn(-time.Second)},
		{"zero", "0"},
		{"negative", "-1"},
		{"long_before_christ", "-1e18"},
	}
	auth := authtestAuth(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := authtestSignRaw(`{"alg":"HS256"}`, `{"sub":"alice","exp":`+test.exp+`}`)
			authtestRefused(t, auth, authtestBearer(token), authtestExpired, token)
		})
	}
}

// jwt converts such numbers without a range check. On some machines the result is a time in the
// past, so an nbf would always hold.
func TestAuthRefusesTimesOutOfRange(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, nil)
	for _, number := range []string{"9223372036854775807", "1e19", "-1e19", "1e300", "-1e300", "1e400", "-1e400", "1" + strings.Repeat("0", 400)} {
		for _, claims := range []string{
			`"sub":"alice","exp":` + number,
			`"sub":"alice","exp":` + authtestIn(time.Hour) + `,"nbf":` + number,
		} {
			token := authtestSignRaw(`{"alg":"HS256"}`, `{`+claims+`}`)
			authtestRefused(t, auth, authtestBearer(token), authtestInvalid, token)
		}
	}
	if userID := authtestUser(t, auth, authtestBearer(authtestSignPayload(`"sub":"alice","nbf":-1e18`))); userID != "alice" {
		t.Errorf("with an nbf long ago: user ID %q, want %q", userID, "alice")
	}
}

// A peer that cannot sign must learn nothing about the times in a token.
func TestAuthDoesNotReportTheExpiryOfAForgedToken(t *testing.T) {
	t.Parallel()
	token := authtestSign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 64)), authtestClaims("exp", 1))
	authtestRefused(t, authtestAuth(t, nil), authtestBearer(token), authtestInvalid, token)
}

func TestAuthRefusesAPublicKeyAsAnHMACSecret(t *testing.T) {
	t.Parallel()
	public := &authtestKeys().rsa.PublicKey
	text := authtestPEM(t, public)
	block, _ := pem.Decode(text)
	der := block.Bytes
	fixed := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Methods, cfg.Key = []string{"RS256"}, public })
	asBytes := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Methods, cfg.Key = []string{"RS256"}, nil
		cfg.Keyfunc = func(*jwt.Token) (any, error) { return text, nil }
	})
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		for _, secret := range [][]byte{text, bytes.TrimSpace(text), der, public.N.Bytes()} {
			token := authtestSign(t, method, secret, authtestClaims())
			authtestRefused(t, fixed, authtestBearer(token), authtestInvalid, token)
			authtestRefused(t, asBytes, authtestBearer(token), authtestInvalid, token)
		}
	}
}

func TestAuthRefusesWeakKeysOfAKeyfunc(t *testing.T) {
	t.Parallel()
	keys := authtestKeys()
	short := authtestSecret[:31]
	hs256 := func(key []byte) string {
		return authtestSign(t, jwt.SigningMethodHS256, key, authtestClaims())
	}
	rs256 := authtestSign(t, jwt.SigningMethodRS256, keys.rsa, authtestClaims())
	tests := []struct {
		name, method string
		key          any
		err          error
		token        string
	}{
		{"nil", "HS256", nil, nil, hs256([]byte{})},
		{"empty", "HS256", []byte{}, nil, hs256([]byte{})},
		{"nil_slice", "HS256", []byte(nil), nil, hs256([]byte{})},
		{"one_byte", "HS256", []byte("k"), nil, hs256([]byte("k"))},
		{"short", "HS256", short, nil, hs256(short)},
		{"short_for_hs384", "HS384", authtestSecret[:47], nil, authtestSign(t, jwt.SigningMethodHS384, authtestSecret[:47], authtestClaims())},
		{"short_for_hs512", "HS512", authtestSecret[:63], nil, authtestSign(t, jwt.SigningMethodHS512, authtestSecret[:63], authtestClaims())},
		{"set_with_empty", "HS256", jwt.VerificationKeySet{Keys: []jwt.VerificationKey{[]byte{}}}, nil, hs256([]byte{})},
		{"set_with_short", "HS256", jwt.VerificationKeySet{Keys: []jwt.VerificationKey{short}}, nil, hs256(short)},
		{"set_with_good_and_short", "HS256", jwt.VerificationKeySet{Keys: []jwt.VerificationKey{authtestSecret, short}}, nil, hs256(short)},
		{"set_of_none", "HS256", jwt.VerificationKeySet{}, nil, hs256(authtestSecret)},
		{"key_and_error", "HS256", authtestSecret, errors.New("keyfunc internal detail"), hs256(authtestSecret)},
		{"wrong_type", "HS256", &keys.rsa.PublicKey, nil, hs256(authtestSecret)},
		{"bytes_for_rs256", "RS256", authtestSecret, nil, rs256},
		{"private_key", "RS256", keys.rsa, nil, rs256},
		{"rsa_nil", "RS256", (*rsa.PublicKey)(nil), nil, rs256},
		{"rsa_zero", "RS256", &rsa.PublicKey{}, nil, rs256},
		{"rsa_of_1024_bits", "RS256", authtestWeakRSA, nil, rs256},
		{"ecdsa_nil", "ES256", (*ecdsa.PublicKey)(nil), nil, authtestSign(t, jwt.SigningMethodES256, keys.p256, authtestClaims())},
		{"ecdsa_zero", "ES256", &ecdsa.PublicKey{}, nil, authtestSign(t, jwt.SigningMethodES256, keys.p256, authtestClaims())},
		{"ed25519_short", "EdDSA", ed25519.PublicKey(authtestSecret[:31]), nil, authtestSign(t, jwt.SigningMethodEdDSA, keys.ed, authtestClaims())},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
				cfg.Methods, cfg.Key = []string{test.method}, nil
				cfg.Keyfunc = func(*jwt.Token) (any, error) { return test.key, test.err }
			})
			authtestRefused(t, auth, authtestBearer(test.token), authtestInvalid, test.token, "internal detail")
		})
	}
}

func TestAuthAcceptsTheKeysOfAKeyfunc(t *testing.T) {
	t.Parallel()
	other := []byte(strings.Repeat("o", 32))
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Key = nil
		cfg.Keyfunc = func(token *jwt.Token) (any, error) {
			if token.Header["kid"] == "k1" {
				return authtestSecret, nil
			}
			return jwt.VerificationKeySet{Keys: []jwt.VerificationKey{other, authtestSecret}}, nil
		}
	})
	for name, token := range map[string]string{
		"key by its kid":    authtestSignRaw(`{"alg":"HS256","kid":"k1"}`, authtestPayload(`"sub":"alice"`)),
		"first key of set":  authtestSign(t, jwt.SigningMethodHS256, other, authtestClaims()),
		"second key of set": authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims()),
	} {
		if userID := authtestUser(t, auth, authtestBearer(token)); userID != "alice" {
			t.Errorf("%s: user ID %q, want %q", name, userID, "alice")
		}
	}
}

func TestNewAuthNamesTheInvalidField(t *testing.T) {
	t.Parallel()
	keys := authtestKeys()
	key := func(key any, methods ...string) func(*ginsse.AuthConfig) {
		return func(cfg *ginsse.AuthConfig) { cfg.Key, cfg.Methods = key, methods }
	}
	public := authtestPEM(t, &keys.rsa.PublicKey)
	tests := []struct {
		name   string
		change func(*ginsse.AuthConfig)
		want   []string // parts of the error's text
	}{
		{"methods_nil", key(authtestSecret), []string{"AuthConfig.Methods"}},
		{"method_none", key(authtestSecret, "none"), []string{"AuthConfig.Methods", `"none"`}},
		{"method_none_constant", key(jwt.UnsafeAllowNoneSignatureType, "none"), []string{"AuthConfig.Methods", `"none"`}},
		{"method_empty", key(authtestSecret, ""), []string{"AuthConfig.Methods", `""`}},
		{"method_unknown", key(authtestSecret, "HS256", "HS1"), []string{"AuthConfig.Methods", `"HS1"`}},
		{"method_in_lower_case", key(authtestSecret, "hs256"), []string{"AuthConfig.Methods", `"hs256"`, `did you mean "HS256"?`, "HS384", "PS512", "EdDSA"}},
		{"method_with_hyphen", key(authtestSecret, "RS-256"), []string{`"RS-256"`, `did you mean "RS256"?`}},
		{"method_in_upper_case", key(authtestSecret, "EDDSA"), []string{`"EDDSA"`, `did you mean "EdDSA"?`}},
		{"methods_mixed", key(authtestSecret, "HS256", "RS256"), []string{"AuthConfig.Methods", "mixes"}},
		{"no_key", key(nil, "HS256"), []string{"AuthConfig", "Key", "Keyfunc"}},
		{"two_keys", func(cfg *ginsse.AuthConfig) {
			cfg.Keyfunc = func(*jwt.Token) (any, error) { return authtestSecret, nil }
		}, []string{"AuthConfig", "Key", "Keyfunc"}},
		{"hmac_empty", key([]byte{}, "HS256"), []string{"AuthConfig.Key", "at least 32 bytes", "has 0: is its variable set?"}},
		{"hmac_nil_slice", key([]byte(nil), "HS256"), []string{"AuthConfig.Key", "at least 32 bytes", "has 0: is its variable set?"}},
		{"hmac_empty_string", key("", "HS256"), []string{"AuthConfig.Key", "at least 32 bytes", "has 0: is its variable set?"}},
		{"hs256_short", key(authtestSecret[:31], "HS256"), []string{"AuthConfig.Key", "at least 32 bytes", "has 31"}},
		{"hs384_short", key(authtestSecret[:47], "HS384"), []string{"AuthConfig.Key", "at least 48 bytes", "has 47"}},
		{"hs512_short", key(authtestSecret[:63], "HS512"), []string{"AuthConfig.Key", "at least 64 bytes", "has 63"}},
		{"short_for_one_of_two", key(authtestSecret[:32], "HS256", "HS512"), []string{"AuthConfig.Key", "HS512"}},
		{"hmac_with_public_key", key(&keys.rsa.PublicKey, "HS256"), []string{"AuthConfig.Key", "[]byte", "*rsa.PublicKey", "such as RS256"}},
		{"rsa_with_bytes", key(authtestSecret, "RS256"), []string{"AuthConfig.Key", "*rsa.PublicKey", "[]byte", "x509.ParsePKIXPublicKey"}},
		{"rsa_with_no_bytes", key([]byte{}, "RS256"), []string{"AuthConfig.Key", "0 bytes: is its variable set?"}},
		{"rsa_with_pem", key(public, "RS256"), []string{"AuthConfig.Key", "PEM text", "jwt.ParseRSAPublicKeyFromPEM"}},
		{"rsa_with_pem_string", key(string(public), "PS384"), []string{"AuthConfig.Key", "PEM text", "jwt.ParseRSAPublicKeyFromPEM"}},
		{"ecdsa_with_pem", key(public, "ES256"), []string{"AuthConfig.Key", "PEM text", "jwt.ParseECPublicKeyFromPEM"}},
		{"ed25519_with_pem", key(public, "EdDSA"), []string{"AuthConfig.Key", "PEM text", "jwt.ParseEdPublicKeyFromPEM"}},
		{"rsa_with_private_pem", key(authtestPEM(t, keys.rsa), "RS256"), []string{"AuthConfig.Key", "private key", "public key", "jwt.ParseRSAPublicKeyFromPEM"}},
		{"hmac_with_public_pem", key(public, "HS256"), []string{"AuthConfig.Key", "public key", "RS256"}},
		{"rsa_private", key(keys.rsa, "RS256"), []string{"AuthConfig.Key", "*rsa.PrivateKey", "&key.PublicKey"}},
		{"rsa_private_by_value", key(*keys.rsa, "RS256"), []string{"AuthConfig.Key", "rsa.PrivateKey", "&key.PublicKey"}},
		{"ecdsa_private", key(keys.p256, "ES256"), []string{"AuthConfig.Key", "*ecdsa.PrivateKey", "&key.PublicKey"}},
		{"rsa_by_value", key(keys.rsa.PublicKey, "PS256"), []string{"AuthConfig.Key", "*rsa.PublicKey", "a pointer, &key"}},
		{"rsa_key_for_es256", key(&keys.rsa.PublicKey, "ES256"), []string{"AuthConfig.Key", "*ecdsa.PublicKey", "such as RS256"}},
		{"ecdsa_key_for_eddsa", key(&keys.p256.PublicKey, "EdDSA"), []string{"AuthConfig.Key", "such as ES256"}},
		{"rsa_nil", key((*rsa.PublicKey)(nil), "RS256"), []string{"AuthConfig.Key", "*rsa.PublicKey", "nil or incomplete"}},
		{"rsa_nil_for_ps256", key((*rsa.PublicKey)(nil), "PS256"), []string{"AuthConfig.Key", "*rsa.PublicKey", "nil or incomplete"}},
		{"rsa_zero", key(&rsa.PublicKey{}, "RS256"), []string{"AuthConfig.Key", "*rsa.PublicKey"}},
		{"rsa_of_1024_bits", key(authtestWeakRSA, "RS256"), []string{"AuthConfig.Key", "at least 2048 bits", "has 1024"}},
		{"rsa_key_for_es256_too", key(&keys.rsa.PublicKey, "RS256", "ES256"), []string{"AuthConfig.Key", "ES256"}},
		{"ecdsa_curve_too_large", key(&keys.p384.PublicKey, "ES256"), []string{"AuthConfig.Key", "256 bits", "has 384"}},
		{"ecdsa_curve_too_small", key(&keys.p256.PublicKey, "ES512"), []string{"AuthConfig.Key", "521 bits", "has 256"}},
		{"ecdsa_nil", key((*ecdsa.PublicKey)(nil), "ES256"), []string{"AuthConfig.Key", "*ecdsa.PublicKey"}},
		{"ecdsa_zero", key(&ecdsa.PublicKey{}, "ES256"), []string{"AuthConfig.Key", "*ecdsa.PublicKey"}},
		{"ed25519_private", key(keys.ed, "EdDSA"), []string{"AuthConfig.Key", "ed25519.PrivateKey", "key.Public()"}},
		{"ed25519_pointer", key(&ed25519.PublicKey{}, "EdDSA"), []string{"AuthConfig.Key", "ed25519.PublicKey", "*key"}},
		{"ed25519_short", key(ed25519.PublicKey("short"), "EdDSA"), []string{"AuthConfig.Key", "ed25519.PublicKey"}},
		{"leeway_negative", func(cfg *ginsse.AuthConfig) { cfg.Leeway = -time.Second }, []string{"AuthConfig.Leeway", "-1s"}},
		{"realm_with_quote", func(cfg *ginsse.AuthConfig) { cfg.Realm = `a"b` }, []string{"AuthConfig.Realm"}},
		{"realm_with_line_break", func(cfg *ginsse.AuthConfig) { cfg.Realm = "a\r\nSet-Cookie: b=c" }, []string{"AuthConfig.Realm"}},
		{"cookie_with_equals_sign", func(cfg *ginsse.AuthConfig) { cfg.Cookie = "a=b" }, []string{"AuthConfig.Cookie"}},
		{"cookie_not_ascii", func(cfg *ginsse.AuthConfig) { cfg.Cookie = "sitzung–1" }, []string{"AuthConfig.Cookie"}},
		{"cookie_with_parenthesis", func(cfg *ginsse.AuthConfig) { cfg.Cookie = "a(b)" }, []string{"AuthConfig.Cookie"}},
		{"cookie_with_space", func(cfg *ginsse.AuthConfig) { cfg.Cookie = "a b" }, []string{"AuthConfig.Cookie"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := ginsse.AuthConfig{Key: authtestSecret, Methods: []string{"HS256"}}
			test.change(&cfg)
			auth, err := ginsse.NewAuth(cfg)
			if err == nil || auth != nil {
				t.Fatalf("got Auth %v and error %v, want nil and an error", auth, err)
			}
			for _, part := range append(test.want, "ginsse: ") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			for _, secret := range []string{string(authtestSecret), string(public), string(authtestPEM(t, keys.rsa))} {
				if authtestShares(err.Error(), secret) {
					t.Errorf("error %q contains the key", err)
				}
			}
		})
	}
}

func TestNewAuthKeepsItsOwnCopyOfTheConfig(t *testing.T) {
	t.Parallel()
	secret := slices.Clone(authtestSecret)
	methods := []string{"HS256"}
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: methods})
	if err != nil {
		t.Fatal(err)
	}
	token := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims())
	clear(secret) // like a careful application; anyone can guess a key of zeros
	methods[0] = "HS512"
	if userID := authtestUser(t, auth, authtestBearer(token)); userID != "alice" {
		t.Errorf("user ID %q, want %q", userID, "alice")
	}
	forged := authtestSign(t, jwt.SigningMethodHS256, make([]byte, len(secret)), authtestClaims())
	authtestRefused(t, auth, authtestBearer(forged), authtestInvalid, forged)
}

func TestAuthenticateReportsTheCauseOnlyToTheLog(t *testing.T) {
	t.Parallel()
	token := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("exp", 1))
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = authtestBearer(token)
	identity, err := authtestAuth(t, nil).Authenticate(c)
	var refused *ginsse.AuthError
	if !errors.As(err, &refused) || identity != (ginsse.Identity{}) {
		t.Fatalf("got %+v and %v, want no identity and an *AuthError", identity, err)
	}
	if refused.Status != http.StatusUnauthorized || refused.Code != "invalid_token" {
		t.Errorf("got status %d and code %q", refused.Status, refused.Code)
	}
	if !errors.Is(err, jwt.ErrTokenExpired) {
		t.Errorf("the cause of %v is not jwt.ErrTokenExpired", err)
	}
	if authtestShares(err.Error(), token) {
		t.Errorf("error %q holds a part of the token", err)
	}
}

func TestAuthIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Cookie = "session" })
	engine := authtestEngine(auth)
	var wg sync.WaitGroup
	for i := range 8 {
		userID := fmt.Sprint("user-", i)
		token := authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims("sub", userID))
		wg.Go(func() {
			for range 50 {
				w := httptest.NewRecorder()
				engine.ServeHTTP(w, authtestBearer(token))
				if got := w.Header().Get("Test-User"); got != userID {
					t.Errorf("user ID %q, want %q", got, userID)
				}
			}
		})
	}
	wg.Wait()
}

func TestNewAuthFuncRefusesNil(t *testing.T) {
	t.Parallel()
	if auth, err := ginsse.NewAuthFunc(nil); err == nil || auth != nil {
		t.Errorf("got Auth %v and error %v, want nil and an error", auth, err)
	}
}

func TestNewAuthFuncPassesTheIdentity(t *testing.T) {
	t.Parallel()
	expiry := time.Now().Add(time.Hour).UTC()
	for name, want := range map[string]ginsse.Identity{
		"with expiry":    {UserID: "alice", Expiry: expiry},
		"without expiry": {UserID: strings.Repeat("u", eventlog.MaxNameBytes)},
	} {
		auth := authtestFunc(t, want, nil)
		// The Auth must ignore tokens; the application checks them.
		w := authtestServe(auth, authtestBearer("opaque"))
		if got := w.Header().Get("Test-User"); w.Code != http.StatusOK || got != want.UserID {
			t.Errorf("%s: got %d and user ID %q, want 200 and %q", name, w.Code, got, want.UserID)
		}
		if got := w.Header().Get("Test-Expiry"); got != want.Expiry.Format(time.RFC3339Nano) {
			t.Errorf("%s: got expiry %q, want %v", name, got, want.Expiry)
		}
	}
}

// With a stream that expires before it begins, a browser would reconnect again and again.
func TestNewAuthFuncRefusesAnExpiredIdentity(t *testing.T) {
	t.Parallel()
	auth := authtestFunc(t, ginsse.Identity{UserID: "alice", Expiry: time.Now()}, nil)
	authtestRefused(t, auth, authtestBearer("x"), authtestAnswer{401, "invalid_token", "the credential expired",
		`Bearer realm="events", error="invalid_token", error_description="the credential expired"`})
}

func TestNewAuthFuncErrorsSetTheResponse(t *testing.T) {
	t.Parallel()
	alice := ginsse.Identity{UserID: "alice"}
	forbidden := &ginsse.AuthError{Status: http.StatusForbidden, Code: "account_locked", Description: "the account is locked", Err: errors.New("internal detail")}
	badHeader := &ginsse.AuthError{Status: http.StatusUnauthorized, Code: "invalid\"\r\n_token", Description: "not\r\n \"good\" \\ ü"}
	tests := []struct {
		name     string
		identity ginsse.Identity
		err      error
		want     authtestAnswer
	}{
		{"plain_error", alice, errors.New("internal detail"), authtestMissing},
		{"auth_error", alice, forbidden, authtestAnswer{status: 403, code: "account_locked", message: "the account is locked"}},
		{"auth_error_wrapped", alice, fmt.Errorf("internal detail: %w", forbidden), authtestAnswer{status: 403, code: "account_locked", message: "the account is locked"}},
		{"auth_error_bad_request", alice, &ginsse.AuthError{Status: 400, Code: "invalid_request", Description: "two tokens"}, authtestAnswer{
			400, "invalid_request", "two tokens",
			`Bearer realm="events", error="invalid_request", error_description="two tokens"`,
		}},
		// The header contains only characters that RFC 6750, section 3, allows; JSON contains all.
		{"auth_error_that_no_header_can_hold", alice, badHeader, authtestAnswer{
			401, badHeader.Code, badHeader.Description,
			`Bearer realm="events", error="invalid_token", error_description="not good  "`,
		}},
		{"auth_error_without_status", alice, &ginsse.AuthError{Code: "invalid_token", Description: "no"}, authtestAnswer{
			401, "invalid_token", "no",
			`Bearer realm="events", error="invalid_token", error_description="no"`,
		}},
		{"auth_error_with_status_of_success", alice, &ginsse.AuthError{Status: 200, Code: "invalid_token", Description: "no"}, authtestAnswer{
			401, "invalid_token", "no",
			`Bearer realm="events", error="invalid_token", error_description="no"`,
		}},
		{"user_id_empty", ginsse.Identity{}, nil, authtestMissing},
		{"user_id_too_long", ginsse.Identity{UserID: strings.Repeat("u", eventlog.MaxNameBytes+1)}, nil, authtestMissing},
		{"user_id_with_control", ginsse.Identity{UserID: "ali\nce"}, nil, authtestMissing},
		{"user_id_not_utf8", ginsse.Identity{UserID: "ali\xffce"}, nil, authtestMissing},
		{"user_id_that_was_not_utf8", ginsse.Identity{UserID: "ali\ufffdce"}, nil, authtestMissing},
		{"temporary_error", alice, fmt.Errorf("internal detail: %w", context.DeadlineExceeded), authtestUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth := authtestFunc(t, test.identity, test.err)
			authtestRefused(t, auth, authtestBearer("Zm9v.YmFyYmF6cXV4.c2VjcmV0"), test.want, "Zm9v.YmFyYmF6cXV4.c2VjcmV0", "internal detail")
		})
	}
}

func TestRealmIsNamedInTheChallenge(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Realm = "my app's events" })
	want := authtestMissing
	want.challenge = `Bearer realm="my app's events"`
	authtestRefused(t, auth, httptest.NewRequest(http.MethodGet, "/events", http.NoBody), want)
}

// Helpers that the tests of authentication share.

const (
	authtestIssuer   = "https://issuer.example"
	authtestAudience = "live-events"
)

func TestCheckFuncDecidesAboutAValidToken(t *testing.T) {
	t.Parallel()
	var checked []string
	auth := authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.CheckFunc = func(ctx context.Context, claims jwt.MapClaims) error {
			id, _ := claims["jti"].(string)
			checked = append(checked, id)
			switch id {
			case "revoked":
				return errors.New("row 7 of sessions says so")
			case "locked":
				return &ginsse.AuthError{Status: http.StatusForbidden, Code: "account_locked", Description: "the account is locked"}
			}
			return ctx.Err()
		}
	})
	sign := func(pairs ...any) *http.Request {
		return authtestBearer(authtestSign(t, jwt.SigningMethodHS256, authtestSecret, authtestClaims(pairs...)))
	}
	if userID := authtestUser(t, auth, sign("jti", "good")); userID != "alice" {
		t.Errorf("got user ID %q", userID)
	}
	authtestRefused(t, auth, sign("jti", "revoked"), authtestInvalid, "row 7")
	authtestRefused(t, auth, sign("jti", "locked"), authtestAnswer{status: 403, code: "account_locked", message: "the account is locked"})
	checked = nil
	authtestRefused(t, auth, sign("jti", "expired", "exp", time.Now().Add(-time.Hour).Unix()), authtestExpired)
	if checked != nil {
		t.Errorf("a token that is no good was checked: %q", checked)
	}
}

var authtestSecret = []byte("q7FJw2vXk9TzB4mN8pLs6RdY3hGc5KaE1uVoWiZxQbCnMtSfHyUjDrPeAlO0g_-K")

// authtestWeakRSA has a modulus of 1024 bits. It does not have to be a working key.
var authtestWeakRSA = &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}

type authtestKeySet struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

// authtestKeys returns one private key of each kind, the same for each call.
var authtestKeys = sync.OnceValue(func() (keys authtestKeySet) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	keys.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	keys.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	keys.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	keys.p521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(err)
	_, keys.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return keys
})

// authtestPEM returns a key as PEM text.
func authtestPEM(t testing.TB, key any) []byte {
	t.Helper()
	block := new(pem.Block)
	var err error
	switch key := key.(type) {
	case *rsa.PublicKey:
		block.Type = "PUBLIC KEY"
		block.Bytes, err = x509.MarshalPKIXPublicKey(key)
	default:
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

// authtestAuth returns an Auth for HS256 and authtestSecret. change may modify its config.
func authtestAuth(t testing.TB, change func(*ginsse.AuthConfig)) *ginsse.Auth {
	t.Helper()
	cfg := ginsse.AuthConfig{Key: authtestSecret, Methods: []string{"HS256"}}
	if change != nil {
		change(&cfg)
	}
	auth, err := ginsse.NewAuth(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// authtestStrictAuth is authtestAuth with an issuer and an audience.
func authtestStrictAuth(t testing.TB) *ginsse.Auth {
	t.Helper()
	return authtestAuth(t, func(cfg *ginsse.AuthConfig) {
		cfg.Issuer, cfg.Audience = authtestIssuer, authtestAudience
	})
}

func authtestFunc(t testing.TB, identity ginsse.Identity, err error) *ginsse.Auth {
	t.Helper()
	auth, newErr := ginsse.NewAuthFunc(func(*gin.Context) (ginsse.Identity, error) { return identity, err })
	if newErr != nil {
		t.Fatal(newErr)
	}
	return auth
}

// authtestClaims returns claims of alice for one hour, with the given names and values.
func authtestClaims(pairs ...any) jwt.MapClaims {
	claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i].(string)] = pairs[i+1]
	}
	return claims
}

func authtestSign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// authtestSignRaw signs header and payload unchanged, with authtestSecret and HS256, even if the
// header names another algorithm.
func authtestSignRaw(header, payload string) string {
	text := authtestEncode(header) + "." + authtestEncode(payload)
	signature, err := jwt.SigningMethodHS256.Sign(text, authtestSecret)
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// authtestSignPayload signs a token for one hour with the given JSON members.
func authtestSignPayload(members string) string {
	return authtestSignRaw(`{"alg":"HS256","typ":"JWT"}`, authtestPayload(members))
}

func authtestPayload(members string) string {
	return `{` + members + `,"exp":` + authtestIn(time.Hour) + `}`
}

// authtestIn returns the NumericDate of a time from now.
func authtestIn(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }

func authtestEncode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// authtestRespell returns another base64url text for the same bytes, by changing unused bits of the
// last character.
func authtestRespell(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + alphabet[last|1:][:1]
}

func authtestParts(token string) (header, payload, signature string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

// authtestBearer returns a request for the stream with a token in its header.
func authtestBearer(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// authtestEngine serves a stream at /events and an ordinary route at /ordinary. Both respond with
// 200, and report the user and the expiry in headers.
func authtestEngine(auth *ginsse.Auth) http.Handler {
	answer := func(c *gin.Context) {
		c.Header("Test-User", ginsse.UserID(c))
		c.Header("Test-Expiry", ginsse.Expiry(c).UTC().Format(time.RFC3339Nano))
		c.Status(http.StatusOK)
		c.Writer.WriteHeaderNow()
	}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), answer)
	r.Any("/ordinary", auth.RequireUser(), answer)
	return auth.HideQueryToken(r)
}

func authtestServe(auth *ginsse.Auth, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	authtestEngine(auth).ServeHTTP(w, r)
	return w
}

// authtestUser returns the user ID that both routes see. It fails the test if a route refuses the
// request, or if the routes see different users.
func authtestUser(t testing.TB, auth *ginsse.Auth, r *http.Request) string {
	t.Helper()
	ordinary := r.Clone(r.Context())
	ordinary.URL.Path = "/ordinary"
	stream := authtestServe(auth, r)
	if stream.Code != http.StatusOK {
		t.Fatalf("got %d %s", stream.Code, stream.Body)
	}
	userID := stream.Header().Get("Test-User")
	if w := authtestServe(auth, ordinary); w.Code != http.StatusOK || w.Header().Get("Test-User") != userID {
		t.Fatalf("on an ordinary route: got %d and user ID %q, on a stream %q", w.Code, w.Header().Get("Test-User"), userID)
	}
	return userID
}

// authtestAnswer is the expected response to a refused request.
type authtestAnswer struct {
	status        int
	code, message string
	challenge     string // the whole WWW-Authenticate header
}

var (
	authtestMissing = authtestAnswer{401, "unauthenticated", "authentication is required", `Bearer realm="events"`}
	authtestInvalid = authtestAnswer{401, "invalid_token", "the access token is not valid",
		`Bearer realm="events", error="invalid_token", error_description="the access token is not valid"`}
	authtestExpired = authtestAnswer{401, "invalid_token", "the access token expired",
		`Bearer realm="events", error="invalid_token", error_description="the access token expired"`}
	authtestTooLong = authtestAnswer{401, "invalid_token", "the access token is too long",
		`Bearer realm="events", error="invalid_token", error_description="the access token is too long"`}
	authtestMalformed = authtestAnswer{400, "invalid_request", "the Authorization header is malformed",
		`Bearer realm="events", error="invalid_request", error_description="the Authorization header is malformed"`}
	authtestDifferent = authtestAnswer{400, "invalid_request", "the request carries different access tokens",
		`Bearer realm="events", error="invalid_request", error_description="the request carries different access tokens"`}
	authtestNotHidden = authtestAnswer{400, "invalid_request", "access tokens in the query are not accepted here",
		`Bearer realm="events", error="invalid_request", error_description="access tokens in the query are not accepted here"`}
	authtestCrowded = authtestAnswer{400, "invalid_request", "the request carries too many access tokens",
		`Bearer realm="events", error="invalid_request", error_description="the request carries too many access tokens"`}
	authtestNoScheme = authtestAnswer{401, "unauthenticated", "the Authorization header must be the word Bearer, a space and the token",
		`Bearer realm="events"`}
	authtestUnavailable = authtestAnswer{status: 503, code: "temporarily_unavailable", message: "authentication is not possible at this time"}
	authtestCrossSite   = authtestAnswer{status: 403, code: "cross_site_request", message: "requests from other sites are not accepted here"}
)

// authtestRefused fails the test unless both routes refuse the request with the wanted response.
// The response must contain no part of the secrets.
func authtestRefused(t testing.TB, auth *ginsse.Auth, r *http.Request, want authtestAnswer, secrets ...string) {
	t.Helper()
	ordinary := r.Clone(r.Context())
	ordinary.URL.Path = "/ordinary"
	authtestCheckAnswer(t, authtestServe(auth, r).Result(), want, secrets...)
	authtestCheckAnswer(t, authtestServe(auth, ordinary).Result(), want, secrets...)
}

func authtestCheckAnswer(t testing.TB, response *http.Response, want authtestAnswer, secrets ...string) {
	t.Helper()
	var dump bytes.Buffer
	if err := response.Write(&dump); err != nil {
		t.Fatal(err)
	}
	text := dump.String()
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	if response.StatusCode != want.status {
		t.Errorf("got status %d, want %d: %s", response.StatusCode, want.status, body)
	}
	if got := response.Header["Www-Authenticate"]; strings.Join(got, "\n") != want.challenge {
		t.Errorf("got WWW-Authenticate %q, want %q", got, want.challenge)
	}
	if got := response.Header["Content-Type"]; !slices.Equal(got, []string{"application/json; charset=utf-8"}) {
		t.Errorf("got Content-Type %q, want JSON", got)
	}
	if got, found := response.Header["X-Accel-Buffering"]; found {
		t.Errorf("got X-Accel-Buffering %q on an answer that is no stream", got)
	}
	if got := response.Header.Get("Test-User"); got != "" {
		t.Errorf("the handler ran, for user ID %q", got)
	}
	var got any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Errorf("body %q: %v", body, err)
	}
	whole := map[string]any{"error": map[string]any{"code": want.code, "message": want.message}}
	if fmt.Sprint(got) != fmt.Sprint(whole) {
		t.Errorf("got body %s, want %v", body, whole)
	}
	for _, err := range authtestLibraryErrors {
		if strings.Contains(text, err.Error()) {
			t.Errorf("the answer holds the library's text %q:\n%s", err, text)
		}
	}
	for _, secret := range secrets {
		if authtestShares(text, secret) {
			t.Errorf("the answer holds a part of %.100q:\n%s", secret, text)
		}
	}
}

var authtestLibraryErrors = []error{
	jwt.ErrInvalidKey, jwt.ErrInvalidKeyType, jwt.ErrHashUnavailable, jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable,
	jwt.ErrTokenSignatureInvalid, jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenInvalidAudience, jwt.ErrTokenExpired,
	jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidSubject, jwt.ErrTokenNotValidYet,
	jwt.ErrTokenInvalidId, jwt.ErrTokenInvalidClaims, jwt.ErrInvalidType, rsa.ErrVerification, jwt.ErrECDSAVerification,
}

// authtestShares reports whether text contains ten consecutive bytes of secret, or all of a shorter
// secret.
func authtestShares(text, secret string) bool {
	const row = 10
	if len(secret) <= row {
		return strings.Contains(text, secret)
	}
	for i := 0; i+row <= len(text); i++ {
		if strings.Contains(secret, text[i:i+row]) {
			return true
		}
	}
	return false
}

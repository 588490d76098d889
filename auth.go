package ginsse

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse/internal/printable"
)

// AuthConfig holds the settings of an [Auth] that authenticates requests by JSON Web Tokens.
//
// A request may carry several tokens, for example an old cookie beside a new one. One valid token
// is enough. Several valid tokens must belong to one user, and the latest expiry counts; otherwise
// the request is refused with 400. A request with more than 8 different tokens is refused with 400,
// too.
type AuthConfig struct {
	// Key verifies the signatures. Exactly one of Key and Keyfunc must be set. The algorithm
	// decides the type of Key:
	//
	//   - HS256, HS384, HS512: a []byte or string of at least 32, 48 or 64 bytes
	//   - RS* and PS*: an *rsa.PublicKey of at least 2048 bits
	//   - ES*: an *ecdsa.PublicKey
	//   - EdDSA: an ed25519.PublicKey
	Key any

	// Keyfunc returns the key for a token, for example from a JWKS by the token's kid. The token is
	// not verified yet. The rules of Key apply to the returned keys.
	//
	// An error refuses the token with 401. A temporary error refuses the whole request with 503,
	// even if another of its tokens is valid. Temporary errors are an [*AuthError] with a Status of
	// 500 or more, the end of a context, a timeout, and a network error of package net. The client
	// never receives the error's text.
	//
	// It may block. It may be called from several goroutines, and up to 8 times for one request.
	Keyfunc jwt.Keyfunc

	// Methods are the accepted signature algorithms, such as "HS256". Required. HMAC algorithms
	// cannot be combined with others, because a public key could then serve as an HMAC secret.
	Methods []string

	// Issuer, if set, is the only accepted iss.
	Issuer string

	// Audience, if set, must be among the token's aud. Set it if the issuer signs tokens for other
	// services, or of other kinds, with the same key.
	Audience string

	// Leeway is how much clocks may differ. A token is accepted that long before nbf and after exp,
	// and a stream ends at exp plus Leeway. Default 0.
	Leeway time.Duration

	// UserIDClaim is the claim with the user ID, which is a string or an integer between -2^53 and
	// 2^53. Default "sub".
	UserIDClaim string

	// CheckFunc, if set, is called for each token that is otherwise valid, for example to check
	// that the session is not revoked. An error refuses the token with 401, unless the error is an
	// [*AuthError], or temporary as described at Keyfunc. The client never receives the error's
	// text. If another token of the request passes, that one counts.
	//
	// It may block, and must not keep or change the claims. It may be called from several
	// goroutines, and up to 8 times for one request.
	CheckFunc func(ctx context.Context, claims jwt.MapClaims) error

	// Cookie, if set, is the name of a cookie that may hold the token instead of the Authorization
	// header. Make it HttpOnly, Secure and SameSite. Requests from pages of other sites may not use
	// it; see AllowedOrigins.
	//
	// Use a name that begins with "__Host-", with Secure, Path=/ and no Domain. A page on another
	// port or a subdomain of the host can set a cookie of any other name for the host. So it could
	// lock a user out, with a token of another user or with more than 8 tokens.
	Cookie string

	// AllowedOrigins are the origins whose pages may use the cookie, such as
	// "https://app.example.com", beside the request's own host. Upper case, a default port and a
	// host that is not ASCII are read as browsers read them. Patterns are refused; see
	// AllowOriginFunc. Without Cookie it has no effect.
	AllowedOrigins []string

	// AllowOriginFunc, if set, reports whether pages of an origin outside AllowedOrigins may use
	// the cookie, for example with one host for each tenant. It is called only for a request that a
	// valid cookie authenticates.
	//
	// The origin is in the form that browsers send: in lower case, without a default port, with the
	// host in ASCII. It is never "null". Compare all of it, or the prefix "https://" and a suffix
	// that begins with a dot. Without the prefix, an attacker on the network can serve
	// "http://a.example.com". Without the dot, "https://evil-example.com" matches "example.com".
	// gin-contrib/cors takes the same function.
	//
	// It may be called from several goroutines. The request waits for it without a timeout, so look
	// the origin up in memory.
	AllowOriginFunc func(origin string) bool

	// InsecureQueryParameter, if set, is the name of a query parameter that may hold the token.
	// Prefer a cookie: URLs end up in logs, histories and Referer headers, and RFC 9700, section
	// 4.3.2, forbids tokens in them. It works only if [Auth.HideQueryToken] wraps the engine.
	InsecureQueryParameter string

	// Realm is the realm in WWW-Authenticate. Default "events".
	Realm string
}

// Auth authenticates requests. Make one with [NewAuth] or [NewAuthFunc] and use it for all routes.
//
// Concurrency: all methods may be called from several goroutines.
type Auth struct {
	identify func(*gin.Context) (Identity, error) // the function given to NewAuthFunc; nil for NewAuth

	parser  *jwt.Parser
	keyfunc jwt.Keyfunc
	check   func(context.Context, jwt.MapClaims) error // nil if not set
	claim   string
	leeway  time.Duration
	cookie  string
	missing error // the cause of the refusal of a request without a token
	query   string
	realm   string
	origins map[origin]bool

	allowOrigin func(string) bool // nil if not set
}

// NewAuth returns an Auth for cfg. Its error names the invalid field: no algorithm, for example, or
// a key that is weak or does not fit the algorithm.
func NewAuth(cfg AuthConfig) (*Auth, error) {
	if err := checkMethods(cfg.Methods); err != nil {
		return nil, err
	}
	keyfunc := cfg.Keyfunc
	switch {
	case cfg.Key == nil && keyfunc == nil:
		return nil, errors.New("ginsse: AuthConfig: neither Key nor Keyfunc is set")
	case cfg.Key != nil && keyfunc != nil:
		return nil, errors.New("ginsse: AuthConfig: both Key and Keyfunc are set")
	case cfg.Key != nil:
		key := cfg.Key
		switch secret := key.(type) {
		case string:
			key = []byte(secret)
		case []byte:
			key = bytes.Clone(secret) // the application may wipe its copy
		}
		for _, method := range cfg.Methods {
			if err := checkKey(method, key); err != nil {
				return nil, fmt.Errorf("ginsse: AuthConfig.Key: %w", err)
			}
		}
		keyfunc = func(*jwt.Token) (any, error) { return key, nil }
	default:
		keyfunc = checkedKeyfunc(keyfunc)
	}
	if cfg.Leeway < 0 {
		return nil, fmt.Errorf("ginsse: AuthConfig.Leeway is %v; it must not be negative", cfg.Leeway)
	}
	if strings.ContainsFunc(cfg.Realm, func(r rune) bool { return headerText(string(r)) == "" }) {
		return nil, fmt.Errorf("ginsse: AuthConfig.Realm %q contains a character that a header cannot contain", cfg.Realm)
	}
	if cookie := (http.Cookie{Name: cfg.Cookie}); cfg.Cookie != "" && cookie.Valid() != nil { //nolint:gosec // only its name is checked
		return nil, fmt.Errorf("ginsse: AuthConfig.Cookie %q is not a cookie name", cfg.Cookie)
	}
	origins, err := parseOrigins(cfg.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(slices.Clone(cfg.Methods)),
		jwt.WithExpirationRequired(),
		jwt.WithJSONNumber(),     // an integer user ID must not pass through a float
		jwt.WithStrictDecoding(), // one token must not have two spellings
		jwt.WithLeeway(cfg.Leeway),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return &Auth{
		parser:  jwt.NewParser(options...),
		keyfunc: keyfunc,
		check:   cfg.CheckFunc,
		claim:   cmp.Or(cfg.UserIDClaim, "sub"),
		leeway:  cfg.Leeway,
		cookie:  cfg.Cookie,
		missing: missingToken(cfg.Cookie),
		query:   cfg.InsecureQueryParameter,
		realm:   cmp.Or(cfg.Realm, "events"),
		origins: origins,

		allowOrigin: cfg.AllowOriginFunc,
	}, nil
}

// NewAuthFunc returns an Auth that calls identify to authenticate requests. Use it if the
// application has its own authentication; identify runs for each request, after the application's
// middleware.
//
// An error refuses the request with 401, unless the error is an [*AuthError] with another Status,
// or temporary as described at [AuthConfig.Keyfunc]. The client never receives the error's text.
//
// The Auth does not look for tokens. If identify relies on a cookie, the application must refuse
// requests from pages of other sites.
func NewAuthFunc(identify func(c *gin.Context) (Identity, error)) (*Auth, error) {
	if identify == nil {
		return nil, errors.New("ginsse: NewAuthFunc: identify is nil")
	}
	return &Auth{identify: identify, realm: "events"}, nil
}

// Authenticate returns the identity that the credentials of c prove. The error is or wraps an
// [*AuthError], unless the function given to [NewAuthFunc] returned another error.
//
// It does not check [AuthConfig.AllowedOrigins]. Most callers need [Middleware] or
// [Auth.RequireUser], which do.
func (a *Auth) Authenticate(c *gin.Context) (Identity, error) { return a.identity(c, nil) }

// identity is Authenticate with an origin check. mayUseCookie, if not nil, returns an error if a
// token found only in cookies must not count. alone says that the request has no other token.
func (a *Auth) identity(c *gin.Context, mayUseCookie func(alone bool) error) (Identity, error) {
	if a.identify != nil {
		identity, err := a.identify(c)
		if err != nil {
			return Identity{}, err
		}
		if err := checkUserID(identity.UserID); err != nil {
			return Identity{}, refuse(codeNoCredentials, "authentication is required", err)
		}
		if !identity.Expiry.IsZero() && !time.Now().Before(identity.Expiry) {
			return Identity{}, refuse(codeInvalidToken, "the credential expired", nil)
		}
		return identity, nil
	}
	return a.authenticate(c.Request, mayUseCookie)
}

// verify returns the identity that a token proves. It uses nothing in the token before its
// signature and times are verified.
func (a *Auth) verify(ctx context.Context, token string) (Identity, *refusal) {
	claims := jwt.MapClaims{}
	parsed, err := a.parser.ParseWithClaims(token, claims, a.keyfunc)
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable) && isTemporary(err):
		return Identity{}, unavailable(err)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return Identity{}, &refusal{rank: rankSignature, answer: invalidToken(err)}
	case errors.Is(err, jwt.ErrTokenMalformed):
		return Identity{}, &refusal{rank: rankForm, answer: invalidToken(err)}
	}
	if err := checkTimes(claims); err != nil {
		return Identity{}, &refusal{rank: rankClaims, answer: invalidToken(err)}
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Identity{}, &refusal{rank: rankExpired, answer: refuse(codeInvalidToken, "the access token expired", err)}
	}
	var userID string
	var expiry *jwt.NumericDate
	if err == nil {
		userID, expiry, err = a.read(parsed, claims)
	}
	if err != nil {
		return Identity{}, &refusal{rank: rankClaims, answer: invalidToken(err)}
	}
	if a.check != nil {
		if err := a.check(ctx, claims); err != nil {
			return Identity{}, checkRefused(err)
		}
	}
	return Identity{UserID: userID, Expiry: expiry.Add(a.leeway)}, nil
}

// checkRefused returns the refusal for an error of CheckFunc.
func checkRefused(err error) *refusal {
	var own *AuthError
	switch chosen := errors.As(err, &own); {
	case isTemporary(err):
		return unavailable(err)
	case chosen:
		return &refusal{rank: rankApplication, err: err}
	default:
		return &refusal{rank: rankClaims, answer: invalidToken(err)}
	}
}

// unavailable returns the refusal for a token that cannot be verified at this time.
func unavailable(err error) *refusal {
	var own *AuthError
	if errors.As(err, &own) {
		return &refusal{rank: rankUnavailable, err: err}
	}
	return &refusal{rank: rankUnavailable, answer: refuseForNow(err)}
}

func refuseForNow(cause error) *AuthError {
	return refuse(codeUnavailable, "authentication is not possible at this time", cause)
}

// isTemporary reports whether an error of the application means that it could not decide. Such
// errors are a status of 500 or more, the end of a context, a timeout, and a network error.
func isTemporary(err error) bool {
	var own *AuthError
	if errors.As(err, &own) {
		return own.Status >= http.StatusInternalServerError
	}
	var (
		network *net.OpError
		lookup  *net.DNSError
		timeout interface{ Timeout() bool }
	)
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &network) || errors.As(err, &lookup) || errors.As(err, &timeout) && timeout.Timeout()
}

// maxSeconds bounds exp and nbf, so that adding to them does not overflow an int64.
const maxSeconds = 1 << 62

// checkTimes refuses times out of range. The jwt package converts 1e300 and 1e400 without a range
// check to a time in the past, and would accept such an nbf.
func checkTimes(claims jwt.MapClaims) error {
	for _, name := range []string{"exp", "nbf"} {
		number, ok := claims[name].(json.Number)
		if !ok {
			continue // missing, or of a type that jwt refuses
		}
		if seconds, err := number.Float64(); err != nil || math.Abs(seconds) > maxSeconds {
			return fmt.Errorf("claim %q is a time out of range", name)
		}
	}
	return nil
}

// read returns the user ID and expiry of a token whose signature and times are verified.
func (a *Auth) read(token *jwt.Token, claims jwt.MapClaims) (userID string, expiry *jwt.NumericDate, err error) {
	// RFC 7515, section 4.1.11: an extension that is marked critical and not understood makes the
	// token invalid. This package understands none.
	if _, found := token.Header["crit"]; found {
		return "", nil, errors.New("the header has crit")
	}
	expiry, err = claims.GetExpirationTime()
	if err != nil || expiry == nil {
		return "", nil, errors.New("there is no exp")
	}
	userID, err = a.userID(claims)
	return userID, expiry, err
}

// userID reads the user ID claim. It refuses a token with another claim that differs only in case:
// another reader of the token may match names without case, and see another user.
func (a *Auth) userID(claims jwt.MapClaims) (string, error) {
	for name := range claims {
		if name != a.claim && strings.EqualFold(name, a.claim) {
			return "", fmt.Errorf("claim %q differs from %q only in case", printable.Clip(name), a.claim)
		}
	}
	var userID string
	switch value := claims[a.claim].(type) {
	case string:
		userID = value
	case json.Number:
		// Other readers of the token may round beyond 2^53, which would merge two users.
		n, err := strconv.ParseInt(value.String(), 10, 64)
		if err != nil || n > 1<<53 || n < -1<<53 || strconv.FormatInt(n, 10) != value.String() {
			return "", fmt.Errorf("claim %q is a number other than an integer up to 2^53", a.claim)
		}
		userID = value.String()
	default:
		return "", fmt.Errorf("claim %q is missing, or is neither a string nor an integer", a.claim)
	}
	return userID, checkUserID(userID)
}

// checkUserID is checkName for the user ID of an identity. It also refuses U+FFFD: decoders of JSON
// replace bytes that are not UTF-8 with it, which would merge several users.
func checkUserID(userID string) error {
	if strings.ContainsRune(userID, utf8.RuneError) {
		return fmt.Errorf("%w: the user ID contains U+FFFD, or bytes that are not UTF-8", ErrInvalidSubject)
	}
	return checkName("user ID", userID)
}

func invalidToken(cause error) *AuthError {
	return refuse(codeInvalidToken, "the access token is not valid", cause)
}

package ginsse

import (
	"bytes"
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
)

// AuthConfig says how a JSON Web Token proves which user a request comes from.
//
// A request may carry several tokens, as in an old cookie beside a new one. One that
// verifies is enough. If several do, they must be of one user, and the latest expiry
// counts; otherwise the request is refused with 400. So is a request with more than 8
// different tokens.
type AuthConfig struct {
	// Key verifies the signatures: for HS256, HS384 and HS512 a []byte or string
	// of at least 32, 48 or 64 bytes; for RS* and PS* an *rsa.PublicKey of at
	// least 2048 bits; for ES* an *ecdsa.PublicKey; for EdDSA an ed25519.PublicKey.
	// Exactly one of Key and Keyfunc must be set.
	Key any

	// Keyfunc finds the key for a token, by its kid in a JWKS say. It is called
	// with a token that is not verified yet. Its keys must meet the same rules as Key.
	//
	// An error refuses the token with 401, unless it is temporary: an [*AuthError] with a
	// Status of 500 or more, the end of a context, a timeout, or a network error of
	// package net. That refuses the request with 503, even if another of its tokens
	// verifies. No error's text reaches the client.
	//
	// It may block. It is called from many goroutines, up to 8 times for a request.
	Keyfunc jwt.Keyfunc

	// Methods are the signature algorithms accepted, such as "HS256". Required.
	// HMAC cannot be mixed with others: a public key would then be a secret.
	Methods []string

	// Issuer, if set, is the only iss accepted.
	Issuer string

	// Audience, if set, must be among the token's aud. Set it when the issuer
	// signs tokens for other services, or of other kinds, with the same key.
	Audience string

	// Leeway is how far clocks may be apart: how long after exp, and before nbf,
	// a token is accepted. A stream ends at exp plus Leeway. Default 0.
	Leeway time.Duration

	// UserIDClaim is the claim that holds the user ID: a string, or an integer
	// between -2^53 and 2^53. Default "sub".
	UserIDClaim string

	// CheckFunc, if set, has the last word on a token that is good in every other
	// way: that its session has not been revoked, say. An error refuses the token, with
	// 401 unless it is an [*AuthError], or temporary as described at Keyfunc; its text never
	// reaches the client. If another token of the request passes, that one counts.
	//
	// It may block, and must not keep or change the claims. It is called from many
	// goroutines, once for each good token of a request: mostly one, at most 8.
	CheckFunc func(ctx context.Context, claims jwt.MapClaims) error

	// Cookie, if set, is the name of a cookie that may hold the token, beside the
	// Authorization header. Make it HttpOnly, Secure and SameSite. Requests from
	// other sites' pages are then refused; see AllowedOrigins.
	//
	// Give it a name that begins with "__Host-", with Secure, Path=/ and no Domain. A page
	// on another port or a subdomain of the host can set a cookie of any other name
	// for the host, and so shut a person out: with a token of another user, or with more than
	// 8 tokens.
	Cookie string

	// AllowedOrigins are the origins, such as "https://app.example.com", whose
	// pages may use the cookie beside those of the request's own host. Capitals, a default
	// port and a host that is not ASCII mean what they mean to a browser. Patterns are
	// refused; see AllowOriginFunc. Without Cookie it has no effect.
	AllowedOrigins []string

	// AllowOriginFunc, if set, is asked whether the pages of an origin that AllowedOrigins
	// does not have may use the cookie: for a host for each of many tenants, say. It
	// is asked only for a request that a good cookie authenticates.
	//
	// The origin is in the form of browsers: in lower case, without a default port, its
	// host in ASCII. It is never "null". Compare all of it, or the prefix "https://" and a
	// suffix that begins with a dot: "http://a.example.com" can be anyone's on an open network, and
	// "https://evil-example.com" ends in "example.com". gin-contrib/cors takes the same
	// function.
	//
	// It is called from many goroutines. The request waits for it, and it has no context
	// to end with: look the origin up in memory.
	AllowOriginFunc func(origin string) bool

	// InsecureQueryParameter, if set, is the name of a query parameter that may
	// hold the token. URLs end up in logs, histories and Referer headers, and
	// RFC 9700, section 4.3.2, forbids it; use a cookie where you can. It works
	// only when [Auth.HideQueryToken] is wrapped around the engine.
	InsecureQueryParameter string

	// Realm is named in WWW-Authenticate. Default "events".
	Realm string
}

// Auth finds out who a request comes from. Make one with [NewAuth] or
// [NewAuthFunc] and use it for all routes.
//
// Concurrency: all methods may be called from several goroutines.
type Auth struct {
	identify func(*gin.Context) (Identity, error) // of NewAuthFunc, else nil

	parser  *jwt.Parser
	keyfunc jwt.Keyfunc
	check   func(context.Context, jwt.MapClaims) error // nil if not set
	claim   string
	leeway  time.Duration
	cookie  string
	missing error // of a request without a token
	query   string
	realm   string
	origins map[origin]bool

	allowOrigin func(string) bool // nil if not set
}

// NewAuth returns an Auth for cfg, or an error that names the field that is
// wrong: no algorithm, an algorithm and a key that do not fit, a weak key.
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
			key = bytes.Clone(secret) // the application may wipe its own
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
		return nil, fmt.Errorf("ginsse: AuthConfig.Realm %q contains a character that a header cannot hold", cfg.Realm)
	}
	if cookie := (http.Cookie{Name: cfg.Cookie}); cfg.Cookie != "" && cookie.Valid() != nil { //nolint:gosec // it is not set
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
		jwt.WithStrictDecoding(), // a token has one spelling
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
		claim:   orDefault(cfg.UserIDClaim, "sub"),
		leeway:  cfg.Leeway,
		cookie:  cfg.Cookie,
		missing: missingToken(cfg.Cookie),
		query:   cfg.InsecureQueryParameter,
		realm:   orDefault(cfg.Realm, "events"),
		origins: origins,

		allowOrigin: cfg.AllowOriginFunc,
	}, nil
}

// NewAuthFunc returns an Auth for an application that has authentication of its
// own: identify is called for each request, after the application's middleware,
// and says who it comes from. An error refuses the request, with 401 unless it is
// an [*AuthError] that says otherwise, or temporary as described at [AuthConfig.Keyfunc];
// its text never reaches the client.
//
// The kit then looks for no token. If identify relies on a cookie, it is for the
// application to refuse requests from other sites' pages.
func NewAuthFunc(identify func(c *gin.Context) (Identity, error)) (*Auth, error) {
	if identify == nil {
		return nil, errors.New("ginsse: NewAuthFunc: identify is nil")
	}
	return &Auth{identify: identify, realm: "events"}, nil
}

// Authenticate returns the identity that the credentials of c prove. The error is an
// [*AuthError], or wraps one, unless a function given to [NewAuthFunc] returned another.
//
// It does not compare the request's origin with [AuthConfig.AllowedOrigins]. Most callers
// want [Middleware] or [Auth.RequireUser], which do.
func (a *Auth) Authenticate(c *gin.Context) (Identity, error) { return a.identity(c, nil) }

// identity is Authenticate with a look at the origin: mayUseCookie, if not nil, says
// whether a token counts that is in cookies only.
func (a *Auth) identity(c *gin.Context, mayUseCookie func() error) (Identity, error) {
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

// verify returns the identity that a token proves. Nothing of the token is used before
// its signature and its times are found good.
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

// checkRefused says what an error of CheckFunc means.
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

// unavailable is the refusal of a token of which nothing is known at this time.
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

// isTemporary reports whether an application's error says that it could not find out,
// rather than no: a status of 500 or more, the end of a context, a timeout, or a network
// that cannot be reached.
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

// maxSeconds bounds exp and nbf: beyond it they cannot be added to and compared in an int64.
const maxSeconds = 1 << 62

// checkTimes refuses times that no clock can hold. jwt takes 1e400 and 1e300, which it
// converts without a look, for a time in the past, and would accept such an nbf.
func checkTimes(claims jwt.MapClaims) error {
	for _, name := range []string{"exp", "nbf"} {
		number, ok := claims[name].(json.Number)
		if !ok {
			continue // missing, or refused by jwt for its type
		}
		if seconds, err := number.Float64(); err != nil || math.Abs(seconds) > maxSeconds {
			return fmt.Errorf("claim %q is a time that no clock can hold", name)
		}
	}
	return nil
}

// read returns what a token says that is good by its signature and its times.
func (a *Auth) read(token *jwt.Token, claims jwt.MapClaims) (userID string, expiry *jwt.NumericDate, err error) {
	// RFC 7515, section 4.1.11: what is marked critical and not understood makes
	// a token invalid. This code understands no extension.
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

// userID reads the user ID claim. Another claim that differs from it only in
// case is refused: the next reader of the token may match names without case,
// and would take it for somebody else's.
func (a *Auth) userID(claims jwt.MapClaims) (string, error) {
	for name := range claims {
		if name != a.claim && strings.EqualFold(name, a.claim) {
			return "", fmt.Errorf("claim %q stands beside %q", clip(name), a.claim)
		}
	}
	var userID string
	switch value := claims[a.claim].(type) {
	case string:
		userID = value
	case json.Number:
		// Beyond 2^53 other readers of the token round, and two users become one.
		n, err := strconv.ParseInt(value.String(), 10, 64)
		if err != nil || n > 1<<53 || n < -1<<53 || strconv.FormatInt(n, 10) != value.String() {
			return "", fmt.Errorf("claim %q is a number other than an integer up to 2^53", a.claim)
		}
		userID = value.String()
	default:
		return "", fmt.Errorf("claim %q is missing or neither a string nor an integer", a.claim)
	}
	return userID, checkUserID(userID)
}

// checkUserID is checkName for the user ID of an identity. Decoders of JSON put U+FFFD
// in place of bytes that are no UTF-8, and so make one user of several.
func checkUserID(userID string) error {
	if strings.ContainsRune(userID, utf8.RuneError) {
		return fmt.Errorf("%w: the user ID contains U+FFFD, or bytes that are no UTF-8", ErrInvalidSubject)
	}
	return checkName("user ID", userID)
}

func invalidToken(cause error) *AuthError {
	return refuse(codeInvalidToken, "the access token is not valid", cause)
}

func orDefault[T ~string](value, otherwise T) T {
	if value == "" {
		return otherwise
	}
	return value
}

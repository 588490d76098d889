package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
)

// AuthConfig says how a JSON Web Token proves who a request comes from.
type AuthConfig struct {
	// Key verifies the signatures: for HS256, HS384 and HS512 a []byte or string
	// of at least 32, 48 or 64 bytes; for RS* and PS* an *rsa.PublicKey of at
	// least 2048 bits; for ES* an *ecdsa.PublicKey; for EdDSA an ed25519.PublicKey.
	// Exactly one of Key and Keyfunc must be set.
	Key any

	// Keyfunc finds the key for a token, by its kid in a JWKS say. It is called
	// with a token that is not verified yet. HMAC keys it returns are held to the
	// same lengths as Key. It may block; it is called from many goroutines.
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
	// way: that its session has not been revoked, say. An error refuses the request
	// with 401 unless it is an [*AuthError]; its text never reaches the client. It
	// may block, and must not keep or change the claims.
	CheckFunc func(ctx context.Context, claims jwt.MapClaims) error

	// Cookie, if set, is the name of a cookie that may hold the token, beside the
	// Authorization header. Make it HttpOnly, Secure and SameSite. Requests from
	// other sites' pages are then refused; see AllowedOrigins.
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
	query   string
	realm   string
	origins map[origin]bool

	allowOrigin func(string) bool // nil if not set
}

// maxTokenBytes bounds what is parsed on behalf of a peer that is not known yet.
const maxTokenBytes = 8 << 10

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
		jwt.WithJSONNumber(), // an integer user ID must not pass through a float
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
		query:   cfg.InsecureQueryParameter,
		realm:   orDefault(cfg.Realm, "events"),
		origins: origins,

		allowOrigin: cfg.AllowOriginFunc,
	}, nil
}

// NewAuthFunc returns an Auth for an application that has authentication of its
// own: identify is called for each request, after the application's middleware,
// and says who it comes from. An error refuses the request, with 401 unless it is
// an [*AuthError] that says otherwise; its text never reaches the client.
//
// The kit then looks for no token. If identify relies on a cookie, it is for the
// application to refuse requests from other sites' pages.
func NewAuthFunc(identify func(c *gin.Context) (Identity, error)) (*Auth, error) {
	if identify == nil {
		return nil, errors.New("ginsse: NewAuthFunc: identify is nil")
	}
	return &Auth{identify: identify, realm: "events"}, nil
}

// Authenticate returns who c comes from. The error is an [*AuthError] unless a
// function given to [NewAuthFunc] returned another. Most callers want
// [Middleware] or [Auth.RequireUser] instead.
func (a *Auth) Authenticate(c *gin.Context) (Identity, error) {
	if a.identify != nil {
		identity, err := a.identify(c)
		if err != nil {
			return Identity{}, err
		}
		if err := checkName("user ID", identity.UserID); err != nil {
			return Identity{}, refuse(codeNoCredentials, "authentication is required", err)
		}
		if !identity.Expiry.IsZero() && !time.Now().Before(identity.Expiry) {
			return Identity{}, refuse(codeInvalidToken, "the credential expired", nil)
		}
		return identity, nil
	}
	token, err := a.findToken(c.Request)
	if err != nil {
		return Identity{}, err
	}
	return a.verify(c.Request.Context(), token)
}

// verify returns whom a token speaks for. Nothing of the token is used before
// its signature and its times are found good.
func (a *Auth) verify(ctx context.Context, token string) (Identity, error) {
	if len(token) > maxTokenBytes {
		return Identity{}, refuse(codeInvalidToken, "the access token is too long", nil)
	}
	claims := jwt.MapClaims{}
	parsed, err := a.parser.ParseWithClaims(token, claims, a.keyfunc)
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return Identity{}, invalidToken(err)
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, refuse(codeInvalidToken, "the access token expired", err)
	case err != nil || !parsed.Valid:
		return Identity{}, invalidToken(err)
	}
	// RFC 7515, section 4.1.11: what is marked critical and not understood makes
	// a token invalid. This code understands no extension.
	if _, found := parsed.Header["crit"]; found {
		return Identity{}, invalidToken(errors.New("the header has crit"))
	}
	expiry, err := claims.GetExpirationTime()
	if err != nil || expiry == nil {
		return Identity{}, invalidToken(errors.New("there is no exp"))
	}
	userID, err := a.userID(claims)
	if err != nil {
		return Identity{}, invalidToken(err)
	}
	if a.check != nil {
		if err := a.check(ctx, claims); err != nil {
			var refused *AuthError
			if errors.As(err, &refused) {
				return Identity{}, err
			}
			return Identity{}, invalidToken(err)
		}
	}
	return Identity{UserID: userID, Expiry: expiry.Add(a.leeway)}, nil
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
	return userID, checkName("user ID", userID)
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

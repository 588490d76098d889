package ginsse_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

// An identity provider signs tokens with private keys. Each token names its key.
func ExampleNewAuth() {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	keys := map[string]*rsa.PublicKey{"key-1": &private.PublicKey} // from a JWKS library, for example
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{
		Methods:  []string{"RS256"},
		Issuer:   "https://id.example.com",
		Audience: "notifications",
		Keyfunc: func(token *jwt.Token) (any, error) {
			id, _ := token.Header["kid"].(string)
			key, found := keys[id]
			if !found {
				return nil, fmt.Errorf("no key %q", id)
			}
			return key, nil
		},
	})
	if err != nil {
		panic(err)
	}
	r := gin.New()
	r.GET("/me", auth.RequireUser(), func(c *gin.Context) { c.String(http.StatusOK, ginsse.UserID(c)) })
	server := httptest.NewServer(r)
	defer server.Close()

	for _, key := range []string{"key-1", "key-2"} {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
			Issuer:    "https://id.example.com",
			Audience:  jwt.ClaimStrings{"notifications"},
			Subject:   "alice",
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		})
		token.Header["kid"] = key
		signed, err := token.SignedString(private)
		if err != nil {
			panic(err)
		}
		examplePrint(exampleDo(server, http.MethodGet, "/me", "Authorization", "Bearer "+signed))
	}

	// Output:
	// 200 alice
	// 401 {"error":{"code":"invalid_token","message":"the access token is not valid"}}
}

// An EventSource cannot send an Authorization header, but it sends cookies. Pages of other sites
// cannot use the cookie. Pages of other subdomains cannot set it, because of the prefix __Host-.
func ExampleNewAuth_cookie() {
	secret := []byte("at least 32 bytes, from the environment")
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{
		Key:            secret,
		Methods:        []string{"HS256"},
		Cookie:         "__Host-session",
		AllowedOrigins: []string{"https://app.example.com"},
	})
	if err != nil {
		panic(err)
	}
	r := gin.New()
	r.POST("/sign-in", func(c *gin.Context) {
		const lifetime = time.Hour
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
			Subject:   "alice", // after a check of the password
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(lifetime)),
		}).SignedString(secret)
		if err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.SetCookieData(&http.Cookie{
			Name: "__Host-session", Value: token, Path: "/", MaxAge: int(lifetime.Seconds()),
			HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode,
		})
	})
	r.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
		c.String(http.StatusOK, ginsse.UserID(c)) // a program calls registry.Serve(c)
	})
	server := httptest.NewServer(r)
	defer server.Close()

	signedIn := exampleDo(server, http.MethodPost, "/sign-in")
	defer signedIn.Body.Close()
	cookie := "__Host-session=" + signedIn.Cookies()[0].Value
	for _, origin := range []string{"https://app.example.com", "https://evil.example.net"} {
		examplePrint(exampleDo(server, http.MethodGet, "/events",
			"Cookie", cookie, "Origin", origin, "Sec-Fetch-Site", "cross-site"))
	}

	// Output:
	// 200 alice
	// 403 {"error":{"code":"cross_site_request","message":"requests from other sites are not accepted here"}}
}

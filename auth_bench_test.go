package ginsse_test

import (
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

// BenchmarkAuthenticate measures the cost of checking a credential, once per stream.
func BenchmarkAuthenticate(b *testing.B) {
	keys := authtestKeys()
	for _, bench := range []struct {
		method          jwt.SigningMethod
		private, public any
	}{
		{jwt.SigningMethodHS256, authtestSecret, authtestSecret},
		{jwt.SigningMethodRS256, keys.rsa, &keys.rsa.PublicKey},
	} {
		b.Run(bench.method.Alg(), func(b *testing.B) {
			auth := authtestAuth(b, func(cfg *ginsse.AuthConfig) {
				cfg.Methods, cfg.Key = []string{bench.method.Alg()}, bench.public
				cfg.Issuer, cfg.Audience = authtestIssuer, authtestAudience
			})
			token := authtestSign(b, bench.method, bench.private, authtestClaims("iss", authtestIssuer, "aud", authtestAudience))
			c, _ := gin.CreateTestContext(httptest.NewRecorder())
			c.Request = authtestBearer(token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := auth.Authenticate(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package ginsse

import (
	"strings"

	"github.com/gin-gonic/gin"
)

const redacted = "redacted"

// redact takes the credentials off a request that has been dealt with, so that
// no logger or recovery on the way out prints them: gin's Recovery prints the
// request on a panic, and masks only the Authorization header. The request's
// header map may be shared with handlers, so it is replaced, not written to.
func (a *Auth) redact(c *gin.Context) {
	header := c.Request.Header
	hasCookies := a.cookie != "" && len(header["Cookie"]) > 0
	if !hasCookies && len(header["Authorization"]) == 0 {
		return
	}
	header = header.Clone()
	if len(header["Authorization"]) > 0 {
		header["Authorization"] = []string{redacted}
	}
	if hasCookies {
		// Rebuilt from what parses: what does not may be most of a token. In one go,
		// as adding them one by one would take quadratic time, for anybody who asks.
		cookies := c.Request.Cookies()
		kept := make([]string, len(cookies))
		for i, cookie := range cookies {
			if cookie.Name == a.cookie {
				cookie.Value = redacted
			}
			if cookie.Quoted {
				cookie.Value = `"` + cookie.Value + `"`
			}
			kept[i] = cookie.Name + "=" + cookie.Value
		}
		header["Cookie"] = []string{strings.Join(kept, "; ")}
	}
	c.Request = c.Request.WithContext(c.Request.Context()) // a shallow copy
	c.Request.Header = header
}

package ginsse

import (
	"strings"

	"github.com/gin-gonic/gin"
)

const redacted = "redacted"

// redact removes the credentials from a finished request, so that outer loggers and recovery do not
// print them. gin's Recovery prints the request on a panic and masks only the Authorization header.
// Handlers may share the header map, so redact replaces it instead of writing to it.
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
		// Keep only cookies that parse, because the rest may contain most of a token. Build the
		// header once: adding one cookie at a time takes quadratic time, which any client could
		// use.
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

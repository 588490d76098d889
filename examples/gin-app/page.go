package main

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed web
var web embed.FS

// contentPolicy lets the page load its own script and style and talk to its own
// server, and nothing else. What people write is shown as text only; should that
// ever slip, no script would run from it.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// addPage adds the routes of the page.
func addPage(r *gin.Engine) {
	for path, file := range map[string]struct{ name, contentType string }{
		"/":          {"web/index.html", "text/html; charset=utf-8"},
		"/app.js":    {"web/app.js", "text/javascript; charset=utf-8"},
		"/style.css": {"web/style.css", "text/css; charset=utf-8"},
	} {
		content, err := web.ReadFile(file.name)
		if err != nil {
			panic(err) // the file is not embedded
		}
		r.GET(path, func(c *gin.Context) {
			pageHeaders(c.Writer.Header())
			c.Data(http.StatusOK, file.contentType, content)
		})
	}
	r.GET("/favicon.ico", func(c *gin.Context) { c.Status(http.StatusNoContent) })
}

func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // the files change with the program
}

package main

import (
	"embed"
	"net/http"
	"path"

	"github.com/gin-gonic/gin"
)

//go:embed web
var web embed.FS

// contentPolicy lets the page load its own script and style and talk to its own
// server, and nothing else. What people write is shown as text only; should that
// ever slip, no script would run from it.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// contentTypes are those of the page's files.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// addPage adds a route for each file of the page, and / for its first.
func addPage(r *gin.Engine) {
	files, err := web.ReadDir("web")
	if err != nil {
		panic(err) // nothing is embedded
	}
	for _, file := range files {
		content, err := web.ReadFile("web/" + file.Name())
		if err != nil {
			panic(err)
		}
		address := "/" + file.Name()
		if address == "/index.html" {
			address = "/"
		}
		r.Match(readMethods, address, func(c *gin.Context) {
			pageHeaders(c.Writer.Header())
			c.Data(http.StatusOK, contentTypes[path.Ext(file.Name())], content)
		})
	}
}

func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // the files change with the program
}

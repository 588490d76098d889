package main

import (
	"embed"
	"net/http"
	"path"

	"github.com/gin-gonic/gin"
)

//go:embed web
var web embed.FS

// contentPolicy allows the page its own scripts, styles and requests to its own server, and
// nothing else. The page shows the texts of users as text. If a bug let HTML through, the
// policy would still stop scripts in it.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// contentTypes maps the extensions of the page's files to content types.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// addPageRoutes adds a route for each file in the folder web. index.html is at /.
func addPageRoutes(r *gin.Engine) {
	files, err := web.ReadDir("web")
	if err != nil {
		panic(err) // the folder is embedded, so this is a bug
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
			setPageHeaders(c.Writer.Header())
			c.Data(http.StatusOK, contentTypes[path.Ext(file.Name())], content)
		})
	}
}

func setPageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // the files change with the program
}

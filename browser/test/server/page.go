package main

import (
	"net/http"
	"os"
	"path/filepath"

	"github.com/gin-gonic/gin"
)

// contentSecurityPolicy is as strict as the policy of a careful application.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pageHTML is the page of the tests. errors.js comes first, so that it sees the errors of the
// module.
const pageHTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>ginsse</title>
<link rel="icon" href="data:,">
<script src="/errors.js"></script>
<script type="module" src="/page.js"></script>
`

// otherHTML is a page of the same site to go to and come back from.
const otherHTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>other</title>
<link rel="icon" href="data:,">
`

// builtIn are the scripts of the page.
var builtIn = map[string]string{
	// For browsers in which the test cannot listen to errors.
	"errors.js": `window.pageErrors = [];
addEventListener("error", (event) => pageErrors.push(String(event.error ?? event.message)));
addEventListener("unhandledrejection", (event) => pageErrors.push("unhandled: " + event.reason));
addEventListener("securitypolicyviolation", (event) => pageErrors.push(event.violatedDirective + " blocks " + event.blockedURI));
const { error } = console;
console.error = (...values) => {
  pageErrors.push(values.join(" "));
  error.apply(console, values);
};
`,
	"page.js": `import * as ginsse from "/ginsse.js";
window.ginsse = ginsse;
window.connect = ginsse.connect;
`,
	"ginsse.js": "export {};\n",
}

func (s *server) page(c *gin.Context)      { html(c, pageHTML) }
func (s *server) otherPage(c *gin.Context) { html(c, otherHTML) }

func html(c *gin.Context, text string) {
	c.Header("Content-Security-Policy", contentSecurityPolicy)
	c.Header("Cache-Control", "no-cache") // but not no-store, which keeps a page out of the back/forward cache
	c.Data(http.StatusOK, "text/html; charset=utf-8", []byte(text))
}

// script serves a file of the folder of scripts, or a built-in one.
func (s *server) script(c *gin.Context) {
	name := c.Param("file")
	c.Header("Cache-Control", "no-cache")
	if s.cfg.Scripts != "" {
		file := filepath.Join(s.cfg.Scripts, filepath.Base(name))
		if _, err := os.Stat(file); err == nil {
			c.File(file)
			return
		}
	}
	if text, ok := builtIn[name]; ok && (name != "ginsse.js" || s.cfg.Scripts == "") {
		c.Data(http.StatusOK, "text/javascript; charset=utf-8", []byte(text))
		return
	}
	c.Status(http.StatusNotFound)
}

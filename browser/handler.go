// Package browser serves the browser's end of an event stream, the module ginsse.js, from the
// application's own binary. It needs no npm and no build of the page.
//
//	r.GET("/ginsse.js", browser.Handler())
//
// A page imports it from there:
//
//	import { connect } from "/ginsse.js";
//
// Pages that have a build take the same module from the npm package ginsse.
package browser

import (
	_ "embed" // the built files
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed dist/ginsse.js
var moduleText string

//go:embed dist/ginsse.js.map
var sourceMapText string

//go:embed dist/eventsource.js
var eventSourceText string

//go:embed dist/eventsource.js.map
var eventSourceMapText string

//go:embed dist/control.js
var controlText string

//go:embed dist/control.js.map
var controlMapText string

// Handler returns a handler that serves ginsse.js and its source map. One route is enough, at any
// path:
//
//	r.GET("/ginsse.js", browser.Handler())
//
// The module belongs to this version of the kit. A Content-Security-Policy has to allow it by
// script-src 'self', and the stream by connect-src 'self'; it needs nothing else. A page of another
// origin needs a CORS middleware before the handler, as for every module script.
//
// Caching: the answer has a strong ETag, which depends on nothing but the content. Browsers ask at
// each visit whether it has changed, and get a 304 if not. If the URL is that of [URL], they keep
// the module for a year and do not ask. A URL with another version gets the module of this binary,
// but browsers ask again at the next visit. So every page gets a module while nodes are updated.
//
// Compression: the module is compressed once, not for each request. It is sent with gzip to clients
// that accept it. Behind a middleware that has set Content-Encoding already, it is sent as it is,
// and the middleware compresses it.
//
// The header SourceMap leads developer tools to the map: the same path with the query ?map. It
// contains the public source of the module, and nothing of the application.
//
// The handler answers GET and HEAD, conditional requests and ranges. Gin routes HEAD only if it has
// a route of its own, such as r.HEAD. Other methods get a 405. The handler may serve several routes
// and any number of requests at the same time.
func Handler() gin.HandlerFunc { return serve(module(), sourceMap()) }

// EventSourceHandler returns a handler for the module eventsource.js, with which ginsse.js reads a
// stream by the browser's own EventSource. Few pages need it. What [Handler] says holds for it too.
//
//	r.GET("/eventsource.js", browser.EventSourceHandler())
func EventSourceHandler() gin.HandlerFunc { return serve(eventSource(), eventSourceMap()) }

// ControlModuleHandler returns a handler for the module control.js, with which ginsse.js changes the
// topics of an open stream and asks for its state. Its requests go to the kit's
// [github.com/ginsse/ginsse.Registry.ControlHandler]. What [Handler] says holds for it too.
//
//	r.GET("/control.js", browser.ControlModuleHandler())
func ControlModuleHandler() gin.HandlerFunc { return serve(controlModule(), controlMap()) }

func serve(js, jsMap *asset) gin.HandlerFunc {
	return func(c *gin.Context) {
		query := c.Request.URL.Query()
		header := c.Writer.Header()
		switch {
		case c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead:
			header.Set("Allow", "GET, HEAD")
			c.AbortWithStatus(http.StatusMethodNotAllowed)
		case query.Has("map"):
			jsMap.serve(c.Writer, c.Request, "no-cache")
		default:
			// A reference that is only a query keeps the path of the request as the browser knows it,
			// whatever a proxy has made of it.
			header.Set("Sourcemap", "?map")
			cacheControl := "no-cache"
			if query.Get("v") == js.version {
				cacheControl = "max-age=31536000, immutable"
			}
			js.serve(c.Writer, c.Request, cacheControl)
		}
	}
}

// URL returns the path of a route with [Handler], with the version of the module in its query:
// "/ginsse.js?v=59c6a4f1b0d2e873". A browser that gets the module from there keeps it for a year,
// and gets the next version from its own URL at once.
//
// Two URLs are two modules to a browser. All scripts of a page should import the same one, for
// example by an import map:
//
//	<script type="importmap">{"imports": {"ginsse": "{{.GinsseURL}}"}}</script>
//	<script type="module">import { connect } from "ginsse";</script>
//
// A Content-Security-Policy has to allow inline scripts like these by a nonce or a hash.
//
// The path may also be a whole URL, such as that of a content delivery network, but without a
// query.
func URL(path string) string { return path + "?v=" + module().version }

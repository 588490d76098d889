package debug

import (
	"embed"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// Config holds the settings of a [Page]. Zero means default.
type Config struct {
	// Name is what the page calls this node. Default: the name of the host.
	Name string

	// InsecureAllowEveryone lets [Page.Mount] go without a handler in front. Whoever reaches the routes
	// then sees the IDs of all users, and can disconnect them. It is for a server that only
	// administrators reach, such as one on a loopback address.
	//
	// The page then answers requests for localhost and IP addresses only. Otherwise a site that an
	// administrator visits could let its own name resolve to the address of the server, and so see and
	// do all of this (DNS rebinding). With a handler in front, which may be an empty one, the page
	// answers for any name.
	InsecureAllowEveryone bool

	// Logger gets at level info who has disconnected whom, and to whom a test event was sent, without
	// its text. "by" is the user that [github.com/ginsse/ginsse.UserID] knows, "address" that of the
	// request as gin sees it. Default: no logging.
	Logger *slog.Logger
}

// Page is the live page of one node. It takes about 1.5 MB, and nothing per stream.
//
// Concurrency: all methods may be called from several goroutines.
type Page struct {
	cfg      Config
	started  time.Time
	recorder *recorder
	observer *ginsse.Observer
	registry atomic.Pointer[ginsse.Registry] // set by Mount
	viewers  chan struct{}                   // has room for maxViewers; each puts in and takes out
}

// maxViewers is how many pages may look at this node at a time.
const maxViewers = 16

// NewPage returns a page. It shows nothing until [Page.Observer] is in
// [github.com/ginsse/ginsse.RegistryConfig.Observers].
func NewPage(cfg Config) *Page {
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Name = clip(cfg.Name, maxNameBytes)
	p := &Page{cfg: cfg, started: time.Now().Round(0), recorder: newRecorder(), viewers: make(chan struct{}, maxViewers)}
	r := p.recorder
	p.observer = &ginsse.Observer{
		Opened: r.opened, Refused: r.refused, Ended: r.ended, Gap: r.gap, Commanded: r.commanded,
		Sent: r.sent, Appended: r.appended, Written: r.written, LogReady: r.logReady, Answer: p.answer,
	}
	return p
}

// Observer returns the observer of this page, for [github.com/ginsse/ginsse.RegistryConfig.Observers] of one
// registry: the one that [Page.Mount] gets.
func (p *Page) Observer() *ginsse.Observer { return p.observer }

// Mount adds the routes of the page to a group of its own. The handlers in front run first, and refuse
// everybody but administrators:
//
//	page.Mount(r.Group("/debug/events"), registry, auth.RequireUser(), requireAdmin)
//
// One refuses by aborting, as gin's handlers do. An answer, or a status other than 200, also counts as
// a refusal.
//
// The page also works behind a proxy that removes a prefix of the path. Requests that change something
// are refused if they come from a page of another site. A page that looks holds one connection for at
// most 5 minutes and opens it anew then, so that the handlers in front decide again.
//
// Mount panics without a registry or without a handler in front, and if it is called twice. See
// [Config.InsecureAllowEveryone].
func (p *Page) Mount(group *gin.RouterGroup, registry *ginsse.Registry, front ...gin.HandlerFunc) {
	switch {
	case registry == nil:
		panic("debug: Mount needs the registry that the page shows")
	case slices.ContainsFunc(front, func(h gin.HandlerFunc) bool { return h == nil }):
		panic("debug: a handler given to Mount is nil")
	case len(front) == 0 && !p.cfg.InsecureAllowEveryone:
		panic("debug: Mount needs a handler in front that refuses everybody but administrators: " +
			"page.Mount(group, registry, requireAdmin). The page shows the IDs of all users, and can disconnect them. " +
			"If only administrators reach the server, set Config.InsecureAllowEveryone")
	case !p.registry.CompareAndSwap(nil, registry):
		panic("debug: Mount was called twice; each registry needs a page of its own")
	}
	if len(front) == 0 {
		front = []gin.HandlerFunc{refuseOtherNames}
	}
	routes := group.Group("", append(slices.Clone(front), endIfAnswered, setHeaders)...)
	read := func(path string, handler gin.HandlerFunc) {
		routes.GET(path, handler)
		routes.HEAD(path, handler)
	}
	if !strings.HasSuffix(group.BasePath(), "/") {
		read("", redirectToSlash)
	}
	for _, file := range []string{"index.html", "page.js", "chart.js", "style.css", "icon.svg"} {
		content, err := web.ReadFile("web/" + file)
		if err != nil {
			panic(err) // the files are embedded, so this is a bug
		}
		contentType := contentTypes[path.Ext(file)]
		read("/"+map[bool]string{true: "", false: file}[file == "index.html"], func(c *gin.Context) {
			c.Data(http.StatusOK, contentType, content)
		})
	}
	routes.GET("/stream", p.serveStream)
	routes.POST("/disconnect", refuseOtherSites, p.disconnect)
	routes.POST("/send", refuseOtherSites, p.send)
}

//go:embed web
var web embed.FS

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// contentPolicy allows the page its own files and requests to its own server, and nothing else. The page
// shows the IDs of users and other texts as text. If a bug let HTML through, the policy would
// still stop scripts in it.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

const sameOrigin = "same-origin"

// endIfAnswered ends a request that a handler in front has answered, if that has not aborted it.
// An action would be carried out otherwise, below the answer that refuses it.
func endIfAnswered(c *gin.Context) {
	if c.Writer.Written() || c.Writer.Status() != http.StatusOK {
		c.Abort()
	}
}

// refuseOtherNames refuses requests whose Host is the name of another machine. Nobody can let an IP
// address lead elsewhere.
func refuseOtherNames(c *gin.Context) {
	host := c.Request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		refuse(c, http.StatusMisdirectedRequest, "Without a handler in front, this page answers for localhost and IP addresses only.")
	}
}

func setHeaders(c *gin.Context) {
	for name, value := range map[string]string{
		"Content-Security-Policy":      contentPolicy,
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   sameOrigin,
		"Cross-Origin-Resource-Policy": sameOrigin,
		"Cache-Control":                "no-store",
	} {
		c.Header(name, value)
	}
}

// redirectToSlash leads to the page, whose links are relative. The address is relative, too: a proxy may
// have removed a prefix of the path.
func redirectToSlash(c *gin.Context) {
	c.Header("Location", "./"+url.PathEscape(path.Base(c.Request.URL.Path))+"/")
	c.Status(http.StatusPermanentRedirect)
}

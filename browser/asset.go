package browser

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	javaScript = "text/javascript; charset=utf-8"
	mapping    = "application/json"
)

var (
	module         = sync.OnceValue(func() *asset { return newAsset(moduleText, javaScript) })
	sourceMap      = sync.OnceValue(func() *asset { return newAsset(sourceMapText, mapping) })
	eventSource    = sync.OnceValue(func() *asset { return newAsset(eventSourceText, javaScript) })
	controlModule  = sync.OnceValue(func() *asset { return newAsset(controlText, javaScript) })
	controlMap     = sync.OnceValue(func() *asset { return newAsset(controlMapText, mapping) })
	eventSourceMap = sync.OnceValue(func() *asset { return newAsset(eventSourceMapText, mapping) })
)

// asset is a file in two encodings. It does not change.
type asset struct {
	contentType string
	version     string // changes with the content
	plain       representation
	gzipped     representation
}

// representation is what is sent for an asset in one encoding.
type representation struct {
	body string
	etag string // strong: the same only for the same bytes
}

func newAsset(content, contentType string) *asset {
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a valid one
	}
	// A buffer takes everything.
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	return &asset{
		contentType: contentType,
		version:     digest(content),
		plain:       representation{content, `"` + digest(content) + `"`},
		gzipped:     representation{compressed.String(), `"` + digest(compressed.String()) + `"`},
	}
}

// digest returns half of a SHA-256. What it names are a few versions of one file.
func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:8])
}

// serve answers a GET or HEAD request with the asset.
func (a *asset) serve(w http.ResponseWriter, r *http.Request, cacheControl string) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", cacheControl)
	h.Add("Vary", "Accept-Encoding")
	sent := a.plain
	switch {
	case h.Get("Content-Encoding") != "":
		// A middleware will compress what is written. gin-contrib/gzip takes the header away if that
		// is compressed already, and then the browser cannot read it. The compressed bytes are not
		// known here, so the ETag is weak, and there are no ranges of them.
		sent.etag = "W/" + sent.etag
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	case acceptsGzip(r.Header.Values("Accept-Encoding")):
		sent = a.gzipped
		h.Set("Content-Encoding", "gzip")
		// ServeContent does not set the length of an encoded body. With If-Match it may answer without
		// a body.
		if r.Header.Get("If-Match") == "" {
			h.Set("Content-Length", strconv.Itoa(len(sent.body)))
		}
	}
	h.Set("ETag", sent.etag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(sent.body))
}

// acceptsGzip reports whether a request wants gzip rather than no encoding (RFC 9110, section
// 12.5.3).
func acceptsGzip(acceptEncoding []string) bool {
	const unlisted = -1
	gzipped, identity, others := float64(unlisted), float64(unlisted), float64(unlisted)
	for coding := range strings.SplitSeq(strings.Join(acceptEncoding, ","), ",") {
		name, parameter, _ := strings.Cut(coding, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			gzipped = weight(parameter)
		case "identity":
			identity = weight(parameter)
		case "*":
			others = weight(parameter)
		}
	}
	if gzipped == unlisted {
		gzipped = others
	}
	// No encoding needs no mention. Then everything that is mentioned is preferred to it.
	return gzipped > 0 && gzipped >= identity
}

// weight returns the q of an encoding, 0 if it is none.
func weight(parameter string) float64 {
	name, value, found := strings.Cut(strings.TrimSpace(parameter), "=")
	if !found {
		return 1
	}
	q, err := strconv.ParseFloat(value, 64)
	if err != nil || !strings.EqualFold(name, "q") || q > 1 {
		return 0
	}
	return q
}

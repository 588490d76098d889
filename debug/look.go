package debug

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

const (
	// interval is how often a page is told.
	interval = time.Second
	// lookFor is how long one request may look. The page comes back, and the handlers in front decide
	// again.
	lookFor     = 5 * time.Minute
	defaultRows = 50
	maxRows     = 500
)

// filter is what a page wants to see.
type filter struct {
	streams ginsse.StreamFilter
	entries request
}

// filterOf reads the query. Its names are unlikely to mean something to the handlers in front.
func filterOf(c *gin.Context) filter {
	rows, err := strconv.Atoi(c.Query("rows"))
	if err != nil || rows < 1 {
		rows = defaultRows
	}
	user, stream := c.Query("only-user"), c.Query("only-stream") // as they are: an ID may end with a space
	f := filter{
		streams: ginsse.StreamFilter{
			UserID: user, Topic: c.Query("only-topic"),
			Limit: min(rows, maxRows), Slowest: c.Query("order") == "slowest",
		},
		entries: request{User: user},
	}
	if stream != "" {
		f.entries = request{Stream: stream}
	}
	return f
}

// serveStream tells a page once a second what there is, as long as it looks.
func (p *Page) serveStream(c *gin.Context) {
	if isFromOtherSite(c.Request) {
		refuse(c, http.StatusForbidden, notThisPage)
		return
	}
	select {
	case p.viewers <- struct{}{}:
		defer func() { <-p.viewers }()
	default:
		refuse(c, http.StatusServiceUnavailable, "Too many pages look at this node.")
		return
	}
	f := filterOf(c)
	cfg := ginsse.StreamConfig{MaxLifetime: lookFor, ReconnectionTime: time.Second}
	err := ginsse.Serve(c, cfg, func(ctx context.Context, s *ginsse.Stream) error {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			v, err := p.look(ctx, f)
			if err != nil {
				return err // the registry is closed
			}
			if err := s.Send(ctx, ginsse.Event{Type: "view", Data: v}); err != nil {
				return err
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	if errors.Is(err, ginsse.ErrUnsupportedWriter) {
		_ = c.Error(err)
	}
}

// look asks all nodes. The error is ErrClosed.
func (p *Page) look(ctx context.Context, f filter) (*view, error) {
	registry := p.registry.Load()
	var list []ginsse.StreamInfo
	var notListed error
	var listing sync.WaitGroup
	listing.Go(func() { list, notListed = registry.ListStreams(ctx, f.streams) })
	answers, notAsked := registry.AskNodes(ctx, f.entries.question())
	listing.Wait()
	for _, err := range []error{notListed, notAsked} {
		if errors.Is(err, ginsse.ErrClosed) {
			return nil, err
		}
	}
	v := newView(answers, time.Now().Round(0))
	v.addStreams(list, notListed)
	if notAsked != nil {
		v.problemf("Not all nodes are shown: %s", strings.TrimPrefix(clip(notAsked.Error(), maxDetail), "ginsse: "))
	}
	return v, nil
}

package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ginsse/ginsse/client"
)

// page is a page that follows topics, and all that it has received. It has a client for each stream.
type page struct {
	user  string
	node  int  // Roaming goes from node to node, and forgets its position at times
	state bool // it wants states
	slow  bool // it reads nothing at times
	once  bool // it does not come back

	load *liveTopics
	http *http.Client

	mu       sync.Mutex // guards the fields below
	trail    []step
	stream   string // ID of its open stream
	position string
	settled  bool
	reloads  bool               // it forgets its position before it opens the next stream
	leave    context.CancelFunc // ends the current connection
	ended    time.Time          // when a page that does not come back has lost its stream
}

// step is an event that a page has received, or a thing that it has done: an event of a type that no
// node sends.
type step struct {
	at   time.Time
	id   string // "" if the event carries none
	kind string
	data string
}

// The types of what a page has done.
const (
	didReload = "reload" // forgot all
	didRemove = "remove" // asked not to read a topic
)

func (p *page) String() string {
	text := fmt.Sprintf("the page of %s at node %d", p.user, p.node)
	if p.state {
		text += " with states"
	}
	return text
}

func (p *page) open(l *liveTopics) {
	transport := &http.Transport{DisableKeepAlives: true}
	if p.slow {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if tcp, ok := conn.(*net.TCPConn); ok {
				err = tcp.SetReadBuffer(4 << 10)
			}
			return conn, err
		}
	}
	p.load, p.http = l, &http.Client{Transport: transport}
}

// run keeps the page connected.
func (p *page) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.connect(ctx)
		if p.once {
			p.mu.Lock()
			p.ended = time.Now()
			p.mu.Unlock()
			return
		}
		pause(70 * time.Millisecond)
	}
}

// connect follows one stream until it ends, or the page leaves it.
func (p *page) connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	p.leave = cancel
	wanders := p.node == Roaming && !p.settled
	if p.reloads || wanders && rand.IntN(2) == 0 {
		p.position, p.reloads = "", false
		p.noteLocked(didReload, "")
	}
	cfg := client.Config{
		NewRequest: p.request, HTTPClient: p.http, LastEventID: p.position,
		IdleTimeout: -1, NoReconnect: true, Heartbeats: true,
	}
	p.mu.Unlock()
	if p.node == Roaming {
		cfg.IdleTimeout, cfg.ConnectTimeout = time.Second, time.Second // it does not wait for a frozen node
	}
	if wanders {
		defer time.AfterFunc(100*time.Millisecond+rand.N(2*time.Second), cancel).Stop()
	}
	c, err := client.New(cfg)
	if err != nil {
		panic(err)
	}
	for e, err := range c.Events(ctx) {
		if err != nil {
			break
		}
		p.take(e)
		if p.slow && rand.IntN(200) == 0 {
			pause(time.Second)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream = ""
}

func (p *page) request(ctx context.Context) (*http.Request, error) {
	query := url.Values{"room": liveNames}
	return p.newRequest(ctx, http.MethodGet, p.load.fleet.URL(p.node)+"/rooms?"+query.Encode(), nil)
}

func (p *page) newRequest(ctx context.Context, method, address string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-User", p.user)
	request.Header.Set(databaseHeader, p.load.db.url)
	if p.state {
		request.Header.Set(stateHeader, "true")
		request.Header.Set(latestHeader, "true")
	}
	return request, nil
}

func (p *page) take(e client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := step{at: time.Now(), kind: e.Type, data: e.Data}
	if e.LastEventID != p.position {
		s.id, p.position = e.LastEventID, e.LastEventID
	}
	if e.Type == "t" {
		var topic string
		var n int
		_, _ = fmt.Sscan(e.Data, &topic, &n)
		s.data = fmt.Sprint(topic, " ", n) // without what makes it long
	}
	if e.Type == typeOpen {
		var open struct{ Stream string }
		_ = e.Unmarshal(&open)
		p.stream = open.Stream
	}
	p.trail = append(p.trail, s)
}

func (p *page) noteLocked(kind, data string) {
	p.trail = append(p.trail, step{at: time.Now(), kind: kind, data: data})
}

// ask asks a node to change the page's stream.
func (p *page) ask(ctx context.Context) {
	p.mu.Lock()
	asked := map[string]any{"stream": p.stream}
	topic := liveNames[rand.IntN(len(liveNames))]
	switch n := rand.IntN(10); {
	case n < 6:
		asked["add"] = []string{topic}
	case n < 8 && p.node == Roaming:
		asked["remove"] = []string{topic}
		p.noteLocked(didRemove, topic)
	default:
		asked["state"] = true
	}
	open := p.stream != ""
	p.mu.Unlock()
	body, err := json.Marshal(asked)
	if err != nil {
		panic(err)
	}
	request, err := p.newRequest(ctx, http.MethodPost, p.load.fleet.URL(Roaming)+"/rooms", body)
	if err == nil && open {
		_, _ = do(p.load.http, request) // what becomes of it shows on the stream
	}
}

// settle has the page stay where it is. A page that may have asked not to read a topic opens its
// stream again.
func (p *page) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled = true; p.node == Roaming {
		p.leave()
	}
}

// reload has the page forget all and open its stream again.
func (p *page) reload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reloads = true
	p.leave()
}

func (p *page) streamID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stream
}

// end returns when a page that does not come back has lost its stream.
func (p *page) end() (at time.Time, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended, !p.ended.IsZero()
}

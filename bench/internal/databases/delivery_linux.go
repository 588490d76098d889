package databases

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/bench/internal/servers"
	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

// node is a node of an application on PostgreSQL: a pool, a log, a registry and a server.
type node struct {
	db       *sql.DB
	log      *sqllog.Log
	registry *ginsse.Registry
	http     *http.Server
	address  string
}

// openNode opens a node. The caller must close it, even after an error.
func openNode(ctx context.Context, url string, listen bool) (n *node, err error) {
	n = new(node)
	if n.db, err = openPool("pgx", url, 24); err != nil {
		return n, err
	}
	var cfg sqllog.Config
	if listen {
		if cfg.Listen, err = pgxlog.Listen(url); err != nil {
			return n, err
		}
	}
	if n.log, err = sqllog.OpenPostgres(ctx, n.db, cfg); err != nil {
		return n, err
	}
	if n.registry, err = ginsse.NewRegistry(ginsse.RegistryConfig{Log: n.log}); err != nil {
		return n, err
	}
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Methods: []string{"HS256"}, Key: servers.Secret})
	if err != nil {
		return n, err
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), n.registry.Handler()) //nolint:contextcheck // requests have theirs
	listener, err := net.Listen("tcp", "127.0.0.1:0")                    //nolint:noctx // it does not wait
	if err != nil {
		return n, err
	}
	n.address = "http://" + listener.Addr().String() + "/events"
	n.http = &http.Server{Handler: engine, ReadHeaderTimeout: 10 * time.Second}
	go n.http.Serve(listener) //nolint:errcheck // Close ends it
	return n, nil
}

func (n *node) close() {
	if n.registry != nil {
		n.registry.Close()
	}
	if n.http != nil {
		_ = n.http.Close()
	}
	if n.log != nil {
		_ = n.log.Close()
	}
	if n.db != nil {
		_ = n.db.Close()
	}
}

// stream is a client's stream of events with numbers as data.
type stream struct {
	response *http.Response
	lines    *bufio.Scanner
}

func openStream(ctx context.Context, address, user string) (*stream, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	token, err := servers.Token(user)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the stream has status %s", response.Status), response.Body.Close())
	}
	return &stream{response, bufio.NewScanner(response.Body)}, nil
}

// next returns the number of the next event.
func (s *stream) next() (int64, error) {
	for s.lines.Scan() {
		if event, gap := strings.CutPrefix(s.lines.Text(), "event: sse."); gap && event == "gap" {
			return 0, errors.New("the stream has a gap")
		}
		if text, found := strings.CutPrefix(s.lines.Text(), "data: "); found {
			if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
				return n, nil
			}
		}
	}
	return 0, errors.Join(errors.New("the stream has ended"), s.lines.Err())
}

// paced is transactions at a rate, and when their events arrived.
type paced struct {
	began, committing, done, arrived []time.Time // of each transaction
}

const (
	deliveryRate    = 300 // a second
	deliveryClients = 16
	arrivalLimit    = 15 * time.Second
)

// pace runs transactions that publish at one node, at random times, until all their events have
// arrived at a stream of another node.
func pace(ctx context.Context, from, to *node, length time.Duration) (_ *paced, err error) {
	ctx, cancel := context.WithTimeout(ctx, length+arrivalLimit)
	defer cancel()
	const user = "reader"
	s, err := openStream(ctx, to.address, user)
	if err != nil {
		return nil, err
	}
	defer s.response.Body.Close() //nolint:errcheck // all was read
	count := max(1, int(deliveryRate*length.Seconds()))
	p := &paced{}
	for _, list := range []*[]time.Time{&p.began, &p.committing, &p.done, &p.arrived} {
		*list = make([]time.Time, count)
	}
	failures := make([]error, deliveryClients+1)
	var group sync.WaitGroup
	group.Go(func() {
		for range count {
			n, err := s.next()
			if err != nil {
				failures[deliveryClients] = err
				return
			}
			if n < 0 || n >= int64(count) || !p.arrived[n].IsZero() {
				failures[deliveryClients] = fmt.Errorf("event %d has arrived, of %d or again", n, count)
				return
			}
			p.arrived[n] = time.Now()
		}
	})
	due := make(chan int, count)
	for i := range deliveryClients {
		group.Go(func() {
			for n := range due {
				if err := p.transact(ctx, from, user, n); err != nil {
					failures[i] = err
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	next := time.Now()
	for n := range count {
		next = next.Add(time.Duration(random.ExpFloat64() * float64(time.Second) / deliveryRate))
		time.Sleep(time.Until(next))
		due <- n
	}
	close(due)
	group.Wait()
	return p, errors.Join(failures...)
}

// transact runs the n-th transaction.
func (p *paced) transact(ctx context.Context, from *node, user string, n int) error {
	p.began[n] = time.Now()
	tx, err := from.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit
	if _, err := tx.ExecContext(ctx, insertComment, n, comment); err != nil {
		return err
	}
	if err := from.registry.In(from.log.Tx(tx)).SendTo(ctx, user, ginsse.Event{Data: data(int64(n))}); err != nil {
		return err
	}
	p.committing[n] = time.Now()
	err = tx.Commit()
	p.done[n] = time.Now()
	return err
}

// between returns the durations from one time to another.
func between(from, to []time.Time) (list []time.Duration) {
	for i := range from {
		list = append(list, to[i].Sub(from[i]))
	}
	return list
}

// onTwoNodes opens two nodes, and runs transactions at one with a stream at the other.
func onTwoNodes(ctx context.Context, url string, listen bool, do func(from, to *node) ([]float64, error)) ([]float64, error) {
	from, err := openNode(ctx, url, listen)
	defer from.close()
	if err != nil {
		return nil, err
	}
	to, err := openNode(ctx, url, listen)
	defer to.close()
	if err != nil {
		return nil, err
	}
	return do(from, to)
}

// newApplication makes a database with the application's table.
func (r *run) newApplication(ctx context.Context, s *server) (url string, err error) {
	if url, err = r.newDatabase(ctx, s); err != nil {
		return "", err
	}
	db, err := openPool("pgx", url, 1)
	if err != nil {
		return "", err
	}
	defer db.Close() //nolint:errcheck // an error of the statement is enough
	_, err = db.ExecContext(ctx, `create table comments (id bigint generated always as identity primary key, author bigint not null, body text not null)`)
	return url, err
}

// delivery measures how long after the commit a client has the event.
func (r *run) delivery(ctx context.Context, s *server, with string) error {
	url, err := r.newApplication(ctx, s)
	if err != nil {
		return err
	}
	once := func(listen bool) func() ([]float64, error) {
		return func() ([]float64, error) {
			return onTwoNodes(ctx, url, listen, func(from, to *node) ([]float64, error) {
				p, err := pace(ctx, from, to, r.span(measureTime))
				if err != nil {
					return nil, err
				}
				list := between(p.committing, p.arrived)
				return []float64{quantile(list, 0.5), quantile(list, 0.99)}, nil
			})
		}
	}
	t := &Table{
		Title: "From the commit until the client has the event" + with,
		About: fmt.Sprintf("%d transactions a second, at random times, insert a row and publish to a user at one node. The user has a stream "+
			"over HTTP at another node. The time begins with the call of Commit, so the commit itself is part of it. Both nodes listen, or both only look.", deliveryRate),
		Figures: latencies(),
	}
	if with == "" {
		t.Aims = []Aim{
			{Text: "commit until the client has it, listening: p50 at most 5 ms", Row: 0, Figure: 0, Over: -1, Most: 5},
			{Text: "… p99 at most 15 ms", Row: 0, Figure: 1, Over: -1, Most: 15},
			{Text: "… only looking: p50 at most 30 ms", Row: 1, Figure: 0, Over: -1, Most: 30},
			{Text: "… p99 at most 60 ms", Row: 1, Figure: 1, Over: -1, Most: 60},
		}
	}
	return r.measure(t, []testCase{{"listening", once(true)}, {"only looking", once(false)}})
}

// openTransaction measures the same beside a transaction that has published and stays open.
func (r *run) openTransaction(ctx context.Context, s *server) error {
	url, err := r.newApplication(ctx, s)
	if err != nil {
		return err
	}
	once := func(beside bool) func() ([]float64, error) {
		return func() ([]float64, error) {
			return onTwoNodes(ctx, url, true, func(from, to *node) ([]float64, error) {
				p, err := r.paceBeside(ctx, from, to, beside)
				if err != nil {
					return nil, err
				}
				delivered, transactions := between(p.committing, p.arrived), between(p.began, p.done)
				return []float64{
					quantile(delivered, 0.5), quantile(delivered, 0.99),
					quantile(transactions, 0.5), quantile(transactions, 0.99),
				}, nil
			})
		}
	}
	return r.measure(&Table{
		Title: "Beside a transaction that stays open",
		About: "As above, listening, for 10 s. In the second row a transaction has published before, and commits after these 10 s; its event is in the log then. " +
			"The figures are of all others.",
		Figures: []Figure{
			{Name: "delivery p50", Unit: "ms"},
			{Name: "delivery p99", Unit: "ms", Ratio: true},
			{Name: "transaction p50", Unit: "ms"},
			{Name: "transaction p99", Unit: "ms", Ratio: true},
		},
		Aims: []Aim{
			// "Unchanged" is within what rounds differ by.
			{Text: "a transaction that stays open: p99 of the delivery of others unchanged (within 1.2)", Row: 1, Figure: 1, Over: 0, Most: 1.2},
			{Text: "… p99 of the transactions of others unchanged (within 1.2)", Row: 1, Figure: 3, Over: 0, Most: 1.2},
		},
	}, []testCase{{"none is open", once(false)}, {"one is open", once(true)}})
}

// paceBeside is pace, perhaps beside a transaction that has published and stays open.
func (r *run) paceBeside(ctx context.Context, from, to *node, beside bool) (*paced, error) {
	const open = 10 * time.Second
	if !beside {
		return pace(ctx, from, to, r.span(open))
	}
	late, err := from.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer late.Rollback() //nolint:errcheck // does nothing after Commit
	if _, err := late.ExecContext(ctx, insertComment, -1, comment); err != nil {
		return nil, err
	}
	if err := from.registry.In(from.log.Tx(late)).SendTo(ctx, "late", ginsse.Event{Data: data(0)}); err != nil {
		return nil, err
	}
	head, err := from.log.Head(ctx)
	if err != nil {
		return nil, err
	}
	p, err := pace(ctx, from, to, r.span(open))
	if err != nil {
		return nil, err
	}
	if err := late.Commit(); err != nil {
		return nil, err
	}
	return p, reach(ctx, from.log, head.Seq+uint64(len(p.done))+1)
}

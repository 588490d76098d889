package sqllog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// store answers what the window cannot.
type store struct{ *Log }

// Last implements [eventlog.Store].
func (s store) Last(ctx context.Context) (eventlog.Cursor, error) {
	now, err := s.poll(ctx, s.db, 0)
	return eventlog.Cursor{Epoch: now.epoch, Seq: now.last}, err
}

// ReadOlder implements [eventlog.Store]. The oldest entries are removed first. So while the entry
// at the position is there, none after it was removed. It is looked for before and after the page
// is read, on one connection: all answers come from one server.
func (s store) ReadOlder(ctx context.Context, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (eventlog.Page, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return eventlog.Page{}, fmt.Errorf("waiting for a connection of the pool: %w", err)
	}
	defer conn.Close() //nolint:errcheck // returns it to the pool
	gap, err := s.verify(ctx, conn, q.After, head, q.Latest)
	if err != nil || gap != "" {
		return eventlog.Page{Entries: dst, Through: head, Gap: gap}, err
	}
	page, err := s.page(ctx, conn, q, head, dst)
	if err != nil {
		return eventlog.Page{}, err
	}
	gap, err = s.verify(ctx, conn, q.After, head, q.Latest)
	if err != nil || gap != "" {
		return eventlog.Page{Entries: dst, Through: head, Gap: gap}, err
	}
	return page, nil
}

// verify returns why entries after a position may be missing. For the position before the first
// entry, it looks for the first entry. With latest, no entry that is gone matters.
func (s store) verify(ctx context.Context, db queries, at, head eventlog.Cursor, latest bool) (eventlog.GapReason, error) {
	now, err := s.poll(ctx, db, max(at.Seq, 1))
	switch {
	case err != nil:
		return "", err
	case now.epoch != at.Epoch || now.last < head.Seq:
		return "", eventlog.ErrReplaced // the tail resets the window with its next poll
	case !latest && (!now.check.Valid ||
		time.Since(time.UnixMicro(now.at.V)) >= s.cfg.MaxAge ||
		now.newest.V-now.total.V > s.cfg.MaxBytes):
		return eventlog.GapTrimmed, nil
	case at.Seq > 0 && now.check.Valid && now.check.V != at.Check:
		return eventlog.GapUnknown, nil
	}
	return "", nil
}

// Each kind of rows has an index by subject and sequence. The condition is that of the index.
const (
	plainRows = `e.key is null`
	// keyedRows are those that are the newest of their key at the end. Those that were replaced earlier
	// have no frame, and are not in the index.
	keyedRows = `e.key is not null and length(e.frame) > 0 and e.seq = (select n.seq from {log} n
		where n.subject = e.subject and n.key = e.key and length(n.frame) > 0 and n.seq <= $2 order by n.seq desc limit 1)
		and e.at > $4`
)

// page reads the entries of a query. Each subject is read by the indexes, up to the bound of the
// page.
func (s store) page(ctx context.Context, db queries, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (eventlog.Page, error) {
	page := eventlog.Page{Entries: dst, Through: head}
	if len(q.Subjects) == 0 {
		return page, nil
	}
	q.MaxEntries = max(q.MaxEntries, 1)
	most := q.MaxEntries + 1 // one more shows that there is more
	// $1 and $2 are the positions before and at the end, $3 is a limit, and $4 a time.
	args := []any{q.After.Seq, head.Seq, most, 0}
	kinds := []string{plainRows, keyedRows}
	if q.Latest {
		args[3] = time.Now().Add(-s.cfg.MaxAge).UnixMicro()
		kinds = []string{keyedRows}
	}
	rowsOf := func(subject string) string {
		var parts []string
		for _, kind := range kinds {
			parts = append(parts, `select p.seq, p.chk, p.at, p.subject, p.key, p.frame from (
				select e.seq, e.chk, e.at, e.subject, e.key, e.frame from {log} e
				where e.subject = `+subject+` and `+kind+` and e.seq > $1 and e.seq <= $2 order by e.seq limit $3) as p`)
		}
		return strings.Join(parts, " union all ")
	}
	each, args := s.dialect.forEach(q.Subjects, rowsOf, args)
	// The database adds up the sizes, so that frames beyond the bound are not sent.
	query := s.replacer.Replace(fmt.Sprintf(`select seq, chk, at, subject, coalesce(key, ''), frame from (select u.seq, u.chk, u.at, u.subject, u.key, u.frame,
		row_number() over (order by u.seq) as n,
		sum(length(u.frame) + %[1]d) over (order by u.seq) - length(u.frame) - %[1]d as before
		from (%[2]s) as u) as sized where before <= %[3]d or n <= 2 order by seq limit $3`,
		eventlog.BlockOverhead, each, q.MaxBytes))
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return page, err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	last := q.After    // that was read
	n, bytes, found := 0, 0, 0
	for rows.Next() {
		at := eventlog.Cursor{Epoch: head.Epoch}
		var stored int64
		var r eventlog.Record
		if err := rows.Scan(&at.Seq, &at.Check, &stored, &r.Subject, &r.Key, &r.Frame); err != nil {
			return page, err
		}
		found++
		// What is not an event counts too, as it does in the query.
		if bytes += len(r.Frame) + eventlog.BlockOverhead; found > 1 && bytes > q.MaxBytes || n >= q.MaxEntries {
			page.More = true
			break
		}
		if e := s.entry(at, stored, r); len(e.Block) > 0 {
			page.Entries = append(page.Entries, &e.Entry)
			n++
		}
		last = at
	}
	if err := errors.Join(rows.Close(), rows.Err()); err != nil {
		return page, err
	}
	switch page.More = page.More || found == most; {
	case page.More && n == 0: // none was an event
		q.After = last
		return s.page(ctx, db, q, head, dst)
	case page.More:
		page.Through = page.Entries[len(page.Entries)-1].At
	}
	return page, nil
}

var _ eventlog.Store = store{}

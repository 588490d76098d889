package sqllog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
		return eventlog.Page{}, err
	}
	defer conn.Close() //nolint:errcheck // returns it to the pool
	gap, err := s.verify(ctx, conn, q.After, head)
	if err != nil || gap != "" {
		return eventlog.Page{Entries: dst, Through: head, Gap: gap}, err
	}
	page, err := s.page(ctx, conn, q, head, dst)
	if err != nil {
		return eventlog.Page{}, err
	}
	gap, err = s.verify(ctx, conn, q.After, head)
	if err == nil && gap == "" {
		gap, err = s.tooMany(ctx, conn, q, head)
	}
	if err != nil || gap != "" {
		return eventlog.Page{Entries: dst, Through: head, Gap: gap}, err
	}
	return page, nil
}

// errReplaced: the tail will notice.
var errReplaced = errors.New("the database is another one, or was rolled back")

// verify returns why entries after a position may be missing. For the position before the first
// entry, it looks for the first entry.
func (s store) verify(ctx context.Context, db queries, at, head eventlog.Cursor) (eventlog.GapReason, error) {
	now, err := s.poll(ctx, db, max(at.Seq, 1))
	switch {
	case err != nil:
		return "", err
	case now.epoch != at.Epoch || now.last < head.Seq:
		return "", errReplaced
	case !now.check.Valid,
		time.Since(time.UnixMicro(now.at.V)) >= s.cfg.MaxAge,
		now.newest.V-now.total.V > s.cfg.MaxBytes:
		return eventlog.GapTrimmed, nil
	case at.Seq > 0 && now.check.V != at.Check:
		return eventlog.GapUnknown, nil
	}
	return "", nil
}

// each joins a query for each subject, and puts them into the one around them. $1 and $2 are the
// positions before and at the end, $3 is a limit, and SUBJECT stands for the subject.
func (s store) each(around, query string, q eventlog.Query, head eventlog.Cursor, limit int) (string, []any) {
	args := []any{q.After.Seq, head.Seq, limit}
	var each []string
	for _, subject := range q.Subjects {
		args = append(args, subject)
		each = append(each, strings.ReplaceAll(query, "SUBJECT", "$"+strconv.Itoa(len(args))))
	}
	return s.replacer.Replace(fmt.Sprintf(around, strings.Join(each, " union all "))), args
}

// tooMany reports a gap if the reader has missed more entries of a subject than the bound.
func (s store) tooMany(ctx context.Context, db queries, q eventlog.Query, head eventlog.Cursor) (eventlog.GapReason, error) {
	most := s.cfg.EventsPerSubject
	if len(q.Subjects) == 0 || head.Seq-q.After.Seq <= uint64(most) {
		return "", nil
	}
	query, args := s.each(`select max(n) from (%s) as c`, `select count(*) as n from (select 1 from {log} e
		where e.subject = SUBJECT and e.seq > $1 and e.seq <= $2 limit $3) as c`, q, head, most+1)
	var missed int
	if err := db.QueryRowContext(ctx, query, args...).Scan(&missed); err != nil {
		return "", err
	}
	if missed > most {
		return eventlog.GapTrimmed, nil
	}
	return "", nil
}

// page reads the entries of a query. Each subject is read by the index, up to the bound of the
// page.
func (s store) page(ctx context.Context, db queries, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (eventlog.Page, error) {
	page := eventlog.Page{Entries: dst, Through: head}
	if len(q.Subjects) == 0 {
		return page, nil
	}
	most := q.MaxEntries + 1 // one more shows that there is more
	// The database adds up the sizes, so that frames beyond the bound are not sent.
	around := fmt.Sprintf(`select seq, chk, at, subject, frame from (select u.seq, u.chk, u.at, u.subject, u.frame,
		row_number() over (order by u.seq) as n,
		sum(length(u.frame) + %[1]d) over (order by u.seq) - length(u.frame) - %[1]d as before
		from (%%s) as u) as sized where before <= %[2]d or n <= 2 order by seq limit $3`, eventlog.BlockOverhead, q.MaxBytes)
	query, args := s.each(around, `select p.seq, p.chk, p.at, p.subject, p.frame from (select e.seq, e.chk, e.at, e.subject, e.frame from {log} e
		where e.subject = SUBJECT and e.seq > $1 and e.seq <= $2 order by e.seq limit $3) as p`, q, head, most)
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
		if err := rows.Scan(&at.Seq, &at.Check, &stored, &r.Subject, &r.Frame); err != nil {
			return page, err
		}
		found++
		e := s.entry(at, stored, r)
		if bytes += len(e.Block); n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes) {
			page.More = true
			break
		}
		if last = at; len(e.Block) > 0 {
			page.Entries = append(page.Entries, &e.Entry)
			n++
		}
	}
	if err := rows.Err(); err != nil {
		return page, err
	}
	switch {
	case found == most && n == 0: // none was an event
		q.After = last
		return s.page(ctx, db, q, head, dst)
	case found == most:
		page.More = true
	}
	if page.More {
		page.Through = page.Entries[len(page.Entries)-1].At
	}
	return page, nil
}

var _ eventlog.Store = store{}

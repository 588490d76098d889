package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// store answers what the window cannot.
type store struct{ *Log }

// Last implements [eventlog.Store].
func (s store) Last(ctx context.Context) (eventlog.Cursor, error) {
	now, err := s.dialect.state(ctx, 0)
	return eventlog.Cursor{Epoch: now.epoch, Seq: now.last}, err
}

// ReadOlder implements [eventlog.Store]. The oldest entries are removed first. So while the entry at the
// position is there, none after it was removed. It is looked for before and after the page is read: a
// transaction that sees one state would cost more, and pin old rows.
func (s store) ReadOlder(ctx context.Context, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (eventlog.Page, error) {
	if gap, err := s.verify(ctx, q.After); err != nil || gap != "" {
		return eventlog.Page{Entries: dst, Through: head, Gap: gap}, err
	}
	page, err := s.page(ctx, q, head, dst)
	if err != nil {
		return eventlog.Page{}, err
	}
	if gap, err := s.verify(ctx, q.After); err != nil || gap != "" {
		return eventlog.Page{Entries: dst, Through: head, Gap: gap}, err
	}
	return page, nil
}

// verify returns why entries after a position may be missing. For the position before the first entry, it
// looks for the first entry.
func (s store) verify(ctx context.Context, at eventlog.Cursor) (eventlog.GapReason, error) {
	var check uint32
	var stored int64
	err := s.db.QueryRowContext(ctx, s.cfg.tables(`select chk, at from {log} where seq = $1`), max(at.Seq, 1)).Scan(&check, &stored)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && time.Since(time.UnixMicro(stored)) >= s.cfg.MaxAge:
		return eventlog.GapTrimmed, nil
	case err != nil:
		return "", err
	case at.Seq > 0 && check != at.Check:
		return eventlog.GapUnknown, nil
	}
	return "", nil
}

// page reads the entries of a query. Each subject is read by the index, up to the bound of the page.
func (s store) page(ctx context.Context, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (eventlog.Page, error) {
	page := eventlog.Page{Entries: dst, Through: head}
	most := q.MaxEntries + 1 // one more shows that there is more
	args := []any{q.After.Seq, head.Seq, most}
	var each []string
	for _, subject := range q.Subjects {
		args = append(args, subject)
		each = append(each, `select * from (select seq, chk, at, subject, frame from {log}
			where subject = $`+strconv.Itoa(len(args))+` and seq > $1 and seq <= $2 order by seq limit $3) as s`+strconv.Itoa(len(args)))
	}
	rows, err := s.db.QueryContext(ctx, s.cfg.tables(strings.Join(each, " union all ")+` order by seq limit $3`), args...)
	if err != nil {
		return page, err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	n, bytes := 0, 0
	for rows.Next() {
		e, _, err := s.scan(rows, head.Epoch)
		switch {
		case err != nil:
			return page, err
		case len(e.Block) == 0:
			continue
		}
		if bytes += len(e.Block); n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes) {
			page.More, page.Through = true, page.Entries[len(page.Entries)-1].At
			return page, nil
		}
		page.Entries = append(page.Entries, &e.Entry)
		n++
	}
	return page, rows.Err()
}

var _ eventlog.Store = store{}

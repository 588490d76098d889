package logtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/ginsse/ginsse/eventlog"
)

// The wrong ways to use memory, in front of a right log.

func dstDroppedAfterError(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		if ctx.Err() != nil {
			clear(dst)
			return eventlog.Page{}, ctx.Err()
		}
		return log.Read(ctx, q, dst)
	}}
}

// blocksReused has the entries of each page in the memory of the last one.
func blocksReused(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var space [100][1000]byte
	return &wrong{Log: log, read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		mu.Lock()
		defer mu.Unlock()
		page, err := log.Read(ctx, q, dst)
		for i := len(dst); i < len(page.Entries); i++ {
			e := *page.Entries[i]
			if i < len(space) && len(e.Block) < len(space[i]) {
				e.Block = append(space[i][:0], e.Block...)
			}
			page.Entries[i] = &e
		}
		return page, err
	}}
}

// blocksCleared clears the memory of old entries when there are new ones.
func blocksCleared(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var entries []*eventlog.Entry
	appends := 0
	return &wrong{
		Log: log,
		read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
			page, err := log.Read(ctx, q, dst)
			mu.Lock()
			defer mu.Unlock()
			entries = append(entries, page.Entries[len(dst):]...)
			return page, err
		},
		append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
			mu.Lock()
			defer mu.Unlock()
			if appends++; appends > 300 {
				for _, e := range entries {
					clear(e.Block)
				}
				entries = nil
			}
			return log.Append(ctx, r)
		},
	}
}

func pagesShareMemory(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var shared []*eventlog.Entry
	return &wrong{Log: log, read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		mu.Lock()
		defer mu.Unlock()
		if dst != nil {
			return log.Read(ctx, q, dst)
		}
		page, err := log.Read(ctx, q, shared[:0])
		shared = page.Entries
		return page, err
	}}
}

func pagesKept(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	kept := make(map[string]eventlog.Page)
	return &wrong{Log: log, read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(q)
		if page, ok := kept[key]; ok {
			if dst == nil {
				return page, nil
			}
			page.Entries = append(dst, page.Entries...)
			return page, nil
		}
		page, err := log.Read(ctx, q, dst)
		if err == nil && dst == nil && len(page.Entries) > 0 {
			kept[key] = page
		}
		return page, err
	}}
}

func dstKept(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var kept []*eventlog.Entry
	return &wrong{
		Log: log,
		read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
			page, err := log.Read(ctx, q, dst)
			mu.Lock()
			defer mu.Unlock()
			if dst != nil {
				kept = page.Entries
			}
			return page, err
		},
		append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
			mu.Lock()
			defer mu.Unlock()
			clear(kept)
			return log.Append(ctx, r)
		},
	}
}

// frameKept appends a record later if its caller did not wait.
func frameKept(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var kept []eventlog.Record
	return &wrong{Log: log, append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			kept = append(kept, r)
			return eventlog.Cursor{}, ctx.Err()
		}
		for _, r := range kept {
			_, _ = log.Append(ctx, r)
		}
		kept = nil
		return log.Append(ctx, r)
	}}
}

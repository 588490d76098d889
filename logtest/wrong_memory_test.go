package logtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/ginsse/ginsse"
)

// The wrong ways to keep memory that is the caller's, in front of a right log.

func dstDroppedAfterError(log ginsse.Log) ginsse.Log {
	failed := false
	return &wrong{Log: log, read: func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
		if failed = ctx.Err() != nil; failed {
			clear(dst)
			return ginsse.Page{}, ctx.Err()
		}
		return log.Read(ctx, q, dst)
	}}
}

func pagesShareMemory(log ginsse.Log) ginsse.Log {
	var mu sync.Mutex
	var shared []byte
	return &wrong{Log: log, read: func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
		mu.Lock()
		defer mu.Unlock()
		if dst != nil {
			return log.Read(ctx, q, dst)
		}
		page, err := log.Read(ctx, q, shared[:0])
		shared = page.Blocks
		return page, err
	}}
}

func pagesKept(log ginsse.Log) ginsse.Log {
	var mu sync.Mutex
	kept := make(map[string]ginsse.Page)
	return &wrong{Log: log, read: func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(q)
		if page, ok := kept[key]; ok {
			if dst == nil {
				return page, nil
			}
			page.Blocks = append(dst, page.Blocks...)
			return page, nil
		}
		page, err := log.Read(ctx, q, dst)
		if err == nil && dst == nil && !page.Last.IsZero() {
			kept[key] = page
		}
		return page, err
	}}
}

func dstKept(log ginsse.Log) ginsse.Log {
	var mu sync.Mutex
	var kept []byte
	return &wrong{
		Log: log,
		read: func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
			page, err := log.Read(ctx, q, dst)
			mu.Lock()
			defer mu.Unlock()
			if kept = page.Blocks; dst == nil {
				kept = nil
			}
			return page, err
		},
		append: func(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
			mu.Lock()
			defer mu.Unlock()
			clear(kept)
			return log.Append(ctx, subject, frame)
		},
	}
}

// frameKept sends an event later whose caller did not wait.
func frameKept(log ginsse.Log) ginsse.Log {
	var mu sync.Mutex
	var kept [][]byte
	return &wrong{Log: log, append: func(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			kept = append(kept, frame)
			return ginsse.Cursor{}, ctx.Err()
		}
		for _, frame := range kept {
			_, _ = log.Append(ctx, subject, frame)
		}
		kept = nil
		return log.Append(ctx, subject, frame)
	}}
}

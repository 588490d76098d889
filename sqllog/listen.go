package sqllog

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// listenPause is the pause before listening again.
const listenPause = time.Second

var errNotListening = errors.New("no notification arrived over the connection of Config.Listen, as through pgbouncer in transaction mode: let it connect straight to the server, or leave Listen out")

// startListening listens, if that is configured, and waits until a notification has arrived.
func (l *Log) startListening(ctx context.Context) error {
	if l.cfg.Listen == nil {
		return nil
	}
	ready, arrived, failed := make(chan struct{}, 1), make(chan struct{}, 1), make(chan error, 1)
	l.running.Go(func() { l.listen(ready, arrived, failed) })
	select {
	case <-ready:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := l.db.ExecContext(ctx, `select pg_notify($1, '')`, channel(l.cfg.TablePrefix)); err != nil {
		return err
	}
	select {
	case <-arrived:
		return nil
	case err := <-failed:
		return err
	case <-time.After(contactTimeout):
		return errNotListening
	case <-ctx.Done():
		return errors.Join(errNotListening, ctx.Err())
	}
}

// listen kicks the tail for each notification, until the log is closed. The channels have room for
// one.
func (l *Log) listen(ready, arrived chan<- struct{}, failed chan<- error) {
	for lost := false; ; lost = true {
		err := l.cfg.Listen(l.life, channel(l.cfg.TablePrefix),
			func() {
				if notify(ready); lost {
					l.cfg.Logger.Info("listening for notifications again")
					lost = false
				}
				l.kick() // what came meanwhile
			},
			func() {
				notify(arrived)
				l.kick()
			})
		if l.life.Err() != nil {
			return
		}
		select {
		case failed <- err:
		default:
		}
		if !lost {
			l.cfg.Logger.Warn("cannot listen for notifications; polling alone", slog.Any("error", err))
		}
		select {
		case <-time.After(listenPause):
		case <-l.life.Done():
			return
		}
	}
}

func notify(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

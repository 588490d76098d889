package redislog

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// Tx returns an outbox that puts events into a transaction, for ginsse's Registry.In: a TxPipeline of
// a client of the same Redis and database, also in a function that is given to TxPipelined. The
// events are in the log if Redis has executed the transaction, together with what else is in it.
//
//	_, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
//		pipe.Incr(ctx, "{ginsse}:likes:"+post.ID)
//		return registry.In(events.Tx(pipe)).SendTo(ctx, post.AuthorID, ginsse.Event{Type: "like"})
//	})
//
// [Config.Wait] does not hold for transactions: an application that needs replicas sends WAIT itself,
// on the same connection. Otherwise a failover can lose an event that no node has read, without a gap.
//
// Redis has no rollback: if one command of a transaction fails, the others are executed. In Redis
// Cluster, the other keys of the transaction have the braces of [Config.Prefix] in their names.
func (l *Log) Tx(pipe redis.Pipeliner) eventlog.Outbox { return outbox{l, pipe} }

type outbox struct {
	log  *Log
	pipe redis.Pipeliner
}

// Log returns the log of the outbox: a ginsse registry whose log is in memory refuses it.
func (o outbox) Log() eventlog.Log { return o.log }

// Put implements [eventlog.Outbox]. It sends nothing: the event is a command of the transaction. Put
// works while this node cannot read the log, and after [Log.Close].
//
// Errors: [eventlog.ErrInvalidRecord], [eventlog.ErrTooLarge].
func (o outbox) Put(ctx context.Context, r eventlog.Record) error {
	if o.pipe == nil {
		return errors.New("redislog: the transaction given to Tx is nil")
	}
	if err := o.log.cfg.check(r); err != nil {
		return err
	}
	a := o.log.newAppend(0, r)
	// In a transaction, a server that does not have the script would execute the other commands alone.
	return o.pipe.Eval(ctx, appendText, a.keys, a.args...).Err()
}

package load

import (
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// Control is what the driver may call of the load generator's process, one call at
// a time.
type Control struct{ loader *Loader }

// NewControl returns a Control without streams.
func NewControl() (*Control, error) {
	loader, err := NewLoader()
	return &Control{loader}, err
}

// Open is [Loader.Open].
func (c *Control) Open(args OpenArgs, took *time.Duration) (err error) {
	*took, err = c.loader.Open(args)
	return err
}

// ExpectArgs are those of [Loader.Expect].
type ExpectArgs struct{ Events, Users int }

// Expect is [Loader.Expect].
func (c *Control) Expect(args ExpectArgs, _ *struct{}) error {
	c.loader.Expect(args.Events, args.Users)
	return nil
}

// Waited is what came of waiting.
type Waited struct {
	Outcome Outcome
	Last    time.Time // when the last event came
}

// Wait is [Loader.Wait].
func (c *Control) Wait(limit time.Duration, waited *Waited) (err error) {
	waited.Last, err = c.loader.Wait(limit)
	waited.Outcome = c.loader.Outcome()
	return err
}

// Rest is [Loader.Rest].
func (c *Control) Rest(d time.Duration, waited *Waited) error {
	err := c.loader.Rest(d)
	waited.Outcome = c.loader.Outcome()
	return err
}

// Close is [Loader.Close].
func (c *Control) Close(struct{}, *struct{}) error {
	c.loader.Close()
	return nil
}

// CPU answers with the CPU time that the process has used.
func (c *Control) CPU(_ struct{}, used *time.Duration) (err error) {
	*used, _, err = child.Usage()
	return err
}

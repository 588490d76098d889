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

// Prepare is [Loader.Prepare].
func (c *Control) Prepare(args OpenArgs, _ *struct{}) error { return c.loader.Prepare(args) }

// Open is [Loader.Open].
func (c *Control) Open(_ struct{}, took *time.Duration) (err error) {
	*took, err = c.loader.Open()
	return err
}

// ExpectArgs are those of [Loader.Expect].
type ExpectArgs struct{ Events, Users int }

// Expect is [Loader.Expect].
func (c *Control) Expect(args ExpectArgs, _ *struct{}) error {
	c.loader.Expect(args.Events, args.Users)
	return nil
}

// Settle is [Loader.Settle], and what came of the series by it.
func (c *Control) Settle(args ExpectArgs, outcome *Outcome) error {
	c.loader.Settle(args.Events, args.Users)
	*outcome = c.loader.Outcome()
	return nil
}

// Waited is what came of waiting.
type Waited struct {
	Outcome Outcome
	Last    time.Time // when the last event came
}

// WaitArgs are those of [Loader.Wait].
type WaitArgs struct{ Limit, Quiet time.Duration }

// Wait is [Loader.Wait].
func (c *Control) Wait(args WaitArgs, waited *Waited) (err error) {
	waited.Last, err = c.loader.Wait(args.Limit, args.Quiet)
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
	*used, err = child.CPU()
	return err
}

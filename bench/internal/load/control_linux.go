package load

import (
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// Control has the methods of the load generator's process that the driver may call, one
// call at a time.
type Control struct{ loader *Loader }

// NewControl returns a Control without streams.
func NewControl() (*Control, error) {
	loader, err := NewLoader()
	return &Control{loader}, err
}

// Prepare calls [Loader.Prepare].
func (c *Control) Prepare(args OpenArgs, _ *struct{}) error { return c.loader.Prepare(args) }

// Open calls [Loader.Open].
func (c *Control) Open(_ struct{}, took *time.Duration) (err error) {
	*took, err = c.loader.Open()
	return err
}

// ExpectArgs has the arguments of [Loader.Expect].
type ExpectArgs struct{ Events, Users int }

// Expect calls [Loader.Expect].
func (c *Control) Expect(args ExpectArgs, _ *struct{}) error {
	c.loader.Expect(args.Events, args.Users)
	return nil
}

// SetExpected calls [Loader.SetExpected] and returns the outcome.
func (c *Control) SetExpected(args ExpectArgs, outcome *Outcome) error {
	c.loader.SetExpected(args.Events, args.Users)
	*outcome = c.loader.Outcome()
	return nil
}

// Waited is the result of Wait and Rest.
type Waited struct {
	Outcome Outcome
	Last    time.Time // when the last event arrived; zero for Rest
}

// WaitArgs has the arguments of [Loader.Wait].
type WaitArgs struct{ Limit, Quiet time.Duration }

// Wait calls [Loader.Wait].
func (c *Control) Wait(args WaitArgs, waited *Waited) (err error) {
	waited.Last, err = c.loader.Wait(args.Limit, args.Quiet)
	waited.Outcome = c.loader.Outcome()
	return err
}

// FailedOver is the result of Failover.
type FailedOver struct {
	Failover

	Outcome Outcome
}

// Failover calls [Loader.Failover].
func (c *Control) Failover(args FailoverArgs, result *FailedOver) (err error) {
	result.Failover, err = c.loader.Failover(args)
	result.Outcome = c.loader.Outcome()
	return err
}

// Rest calls [Loader.Rest].
func (c *Control) Rest(d time.Duration, waited *Waited) error {
	err := c.loader.Rest(d)
	waited.Outcome = c.loader.Outcome()
	return err
}

// Close calls [Loader.Close].
func (c *Control) Close(struct{}, *struct{}) error {
	c.loader.Close()
	return nil
}

// CPU returns the CPU time that the process has used.
func (c *Control) CPU(_ struct{}, used *time.Duration) (err error) {
	*used, err = child.CPU()
	return err
}

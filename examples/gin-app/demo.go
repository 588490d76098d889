package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// demoPassword is everybody's in the demo. It is shorter than signUp allows.
const demoPassword = "demo"

// addDemo adds the demo people and something to comment on, unless they are there.
// Somebody else who has taken such a name before is left alone.
func (a *app) addDemo(ctx context.Context) error {
	for _, demo := range []struct{ name, post string }{
		{"alice", "The kettle finally whistles in tune."},
		{"bob", "Found a bakery that opens at five. Life has changed."},
		{"carol", "Does anyone still have the map from last year's hike?"},
	} {
		found, err := a.store.AccountNamed(ctx, demo.name)
		if errors.Is(err, errNoSuchUser) {
			found, err = a.addDemoPerson(ctx, demo.name, demo.post)
		}
		if err != nil {
			return fmt.Errorf("adding %s: %w", demo.name, err)
		}
		if found.Demo {
			a.demo = append(a.demo, found.Name)
		}
	}
	return nil
}

func (a *app) addDemoPerson(ctx context.Context, name, post string) (account, error) {
	hash, err := a.passwords.hash(ctx, claimant{}, demoPassword)
	if err != nil {
		return account{}, err
	}
	err = a.store.AddDemoAccount(ctx, name, hash, post)
	if err != nil && !errors.Is(err, errNameTaken) { // taken: another process was first
		return account{}, err
	}
	return a.store.AccountNamed(ctx, name)
}

// getDemo tells the page whom a visitor may sign in as: in a demo.
func (a *app) getDemo(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"people": a.demo, "password": demoPassword})
}

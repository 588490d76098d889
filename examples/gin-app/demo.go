package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// demoPassword is the password of every demo user. It is shorter than signUp allows.
const demoPassword = "demo"

// addDemoUsers adds the demo users that do not exist yet, each with a post. An ordinary
// account with such a name is left alone.
func (a *app) addDemoUsers(ctx context.Context) error {
	for _, demo := range []struct{ name, post string }{
		{"alice", "The kettle finally whistles in tune."},
		{"bob", "Found a bakery that opens at five. Life has changed."},
		{"carol", "Does anyone still have the map from last year's hike?"},
	} {
		found, err := a.store.AccountNamed(ctx, demo.name)
		if errors.Is(err, errNoSuchUser) {
			found, err = a.addDemoUser(ctx, demo.name, demo.post)
		}
		if err != nil {
			return fmt.Errorf("adding demo user %s: %w", demo.name, err)
		}
		if found.Demo {
			a.demo = append(a.demo, found.Name)
		}
	}
	return nil
}

func (a *app) addDemoUser(ctx context.Context, name, post string) (account, error) {
	hash, err := a.passwords.hash(ctx, requester{}, demoPassword)
	if err != nil {
		return account{}, err
	}
	err = a.store.AddDemoAccount(ctx, name, hash, post)
	if err != nil && !errors.Is(err, errNameTaken) { // taken if another process added the user first
		return account{}, err
	}
	return a.store.AccountNamed(ctx, name)
}

// getDemo answers with the demo users and their password. The page shows them beside its
// sign-in form.
func (a *app) getDemo(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"people": a.demo, "password": demoPassword})
}

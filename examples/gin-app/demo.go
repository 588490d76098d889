package main

import (
	"context"
	"errors"
	"fmt"
)

// demoPassword is everybody's in the demo. It is shorter than signUp allows.
const demoPassword = "demo"

// addDemo adds the demo people and something to comment on, unless they are there.
func (a *app) addDemo(ctx context.Context) error {
	for _, demo := range []struct{ name, post string }{
		{"alice", "The kettle finally whistles in tune."},
		{"bob", "Found a bakery that opens at five. Life has changed."},
		{"carol", "Does anyone still have the map from last year's hike?"},
	} {
		if _, err := a.store.AccountNamed(ctx, demo.name); !errors.Is(err, errNoSuchUser) {
			if err != nil {
				return fmt.Errorf("looking for %s: %w", demo.name, err)
			}
			continue
		}
		hash, err := a.passwords.hash(ctx, demoPassword)
		if err != nil {
			return fmt.Errorf("adding %s: %w", demo.name, err)
		}
		who, err := a.store.AddAccount(ctx, demo.name, hash)
		if errors.Is(err, errNameTaken) {
			continue // another process was first
		}
		if err != nil {
			return fmt.Errorf("adding %s: %w", demo.name, err)
		}
		if _, err := a.store.AddPost(ctx, who.ID, demo.post); err != nil {
			return fmt.Errorf("adding the post of %s: %w", demo.name, err)
		}
	}
	return nil
}

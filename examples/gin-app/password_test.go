package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestPasswordMatchesOnlyItsHash(t *testing.T) {
	t.Parallel()
	p := testPasswords(t)
	hash, err := p.hash(t.Context(), requester{}, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("hash is %q", hash)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horse ": false, "": false} {
		if got, err := p.matches(t.Context(), requester{}, password, hash); err != nil || got != want {
			t.Errorf("%q: %v, %v", password, got, err)
		}
	}
	again, err := p.hash(t.Context(), requester{}, "correct horse")
	if err != nil || again == hash {
		t.Errorf("two hashes of a password are the same, or %v", err)
	}
}

// The cost may be raised while old hashes are in use.
func TestPasswordMatchesHashOfAnotherCost(t *testing.T) {
	t.Parallel()
	hash, err := testPasswords(t).hash(t.Context(), requester{}, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	dearer, err := newPasswords(passwordCost{Passes: 2, MemoryKiB: 128, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := dearer.matches(t.Context(), requester{}, "correct horse", hash); err != nil || !got {
		t.Errorf("%v, %v", got, err)
	}
}

func TestInvalidPasswordHashIsAnError(t *testing.T) {
	t.Parallel()
	p := testPasswords(t)
	for name, hash := range map[string]string{
		"empty":         "",
		"other_kind":    "$argon2i$v=19$m=64,t=1,p=1$c2FsdA$a2V5",
		"other_version": strings.Replace(p.decoy, "v=19", "v=18", 1),
		"no_cost":       strings.Replace(p.decoy, "t=1", "t=0", 1),
		"no_key":        p.decoy[:strings.LastIndex(p.decoy, "$")+1],
		"bad_base64":    p.decoy + "!",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := p.matches(t.Context(), requester{}, "", hash); err == nil || got {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestPasswordWaitEndsWithContext(t *testing.T) {
	t.Parallel()
	p := testPasswords(t)
	takeAllSlots(t, p.queue)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.matchesDecoy(ctx, requester{}, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func testPasswords(t *testing.T) *passwords {
	t.Helper()
	p, err := newPasswords(testCost)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

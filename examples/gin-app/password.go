package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// passwordCost is the cost of one argon2id hash.
type passwordCost struct {
	Passes    uint32
	MemoryKiB uint32
	Threads   uint8
}

// defaultPasswordCost is what OWASP recommends. A hash takes 19 MiB and some tens of ms.
var defaultPasswordCost = passwordCost{Passes: 2, MemoryKiB: 19 << 10, Threads: 1}

const (
	saltBytes = 16
	hashBytes = 32
)

// passwords hashes passwords and checks them.
//
// Concurrency: all methods may be called from several goroutines. Each hash takes much memory,
// so only one per processor is computed at a time, and at most four. Other calls wait in a
// [queue], and may get [errBusy].
type passwords struct {
	cost  passwordCost
	queue *queue
	decoy string // hash of a random password; see matchesDecoy
}

// maxWaiting is the most calls that wait. With the default cost the last one waits seconds.
const maxWaiting = 256

func newPasswords(cost passwordCost) (*passwords, error) {
	if cost == (passwordCost{}) {
		cost = defaultPasswordCost
	}
	p := &passwords{cost: cost, queue: newQueue(min(4, runtime.GOMAXPROCS(0)), maxWaiting)}
	var err error
	p.decoy, err = p.hash(context.Background(), requester{}, rand.Text())
	return p, err
}

// hash returns the hash of a password with a new salt, in the PHC string format. The string
// contains the cost, so the cost of new hashes can be raised later.
func (p *passwords) hash(ctx context.Context, from requester, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key, err := p.derive(ctx, from, password, salt, p.cost, hashBytes)
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.cost.MemoryKiB, p.cost.Passes, p.cost.Threads, encode(salt), encode(key)), nil
}

// matches reports whether a password is the one that was hashed.
func (p *passwords) matches(ctx context.Context, from requester, password, hash string) (bool, error) {
	cost, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	got, err := p.derive(ctx, from, password, salt, cost, uint32(len(want)))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// matchesDecoy takes as long as matches and returns false. It is for names that do not exist:
// a faster answer would show which names exist.
func (p *passwords) matchesDecoy(ctx context.Context, from requester, password string) (bool, error) {
	_, err := p.matches(ctx, from, password, p.decoy)
	return false, err
}

// derive waits for a slot of the queue and computes an argon2id key.
func (p *passwords) derive(ctx context.Context, from requester, password string, salt []byte, cost passwordCost, n uint32) ([]byte, error) {
	leave, err := p.queue.enter(ctx, from)
	if err != nil {
		return nil, err
	}
	defer leave()
	return argon2.IDKey([]byte(password), salt, cost.Passes, cost.MemoryKiB, cost.Threads, n), nil
}

// parseHash splits a string that hash returned into its parts.
func parseHash(hash string) (cost passwordCost, salt, key []byte, err error) {
	parts := strings.Split(hash, "$") // "", algorithm, version, cost, salt, key
	var version int
	if len(parts) != 6 || parts[1] != "argon2id" {
		return cost, nil, nil, errors.New("password hash in the database is not argon2id")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return cost, nil, nil, fmt.Errorf("password hash has version %q, not %d", parts[2], argon2.Version)
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.MemoryKiB, &cost.Passes, &cost.Threads); err != nil {
		return cost, nil, nil, fmt.Errorf("cost of password hash: %w", err)
	}
	if cost.Passes == 0 || cost.Threads == 0 {
		return cost, nil, nil, fmt.Errorf("password hash has cost %q", parts[3])
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return cost, nil, nil, fmt.Errorf("salt of password hash: %w", err)
	}
	if key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return cost, nil, nil, fmt.Errorf("key of password hash: %w", err)
	}
	if len(key) != hashBytes { // an empty key would match every password
		return cost, nil, nil, fmt.Errorf("password hash has %d bytes, not %d", len(key), hashBytes)
	}
	return cost, salt, key, nil
}

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

// passwordCost is the work that one argon2id hash takes.
type passwordCost struct {
	Passes    uint32
	MemoryKiB uint32
	Threads   uint8
}

// defaultPasswordCost is OWASP's recommendation: some tens of milliseconds and 19 MiB.
var defaultPasswordCost = passwordCost{Passes: 2, MemoryKiB: 19 << 10, Threads: 1}

const (
	saltBytes = 16
	hashBytes = 32
)

// passwords hashes passwords and checks them.
//
// Concurrency: all methods may be called from several goroutines. At most one hash per
// processor, and at most four, are made at a time, since each takes much memory. Other calls
// wait in a [queue], and may get [errBusy].
type passwords struct {
	cost  passwordCost
	queue *queue
	decoy string // the hash of a random password
}

// maxWaiting is the most calls that wait. With the default cost the last one waits for seconds.
const maxWaiting = 256

func newPasswords(cost passwordCost) (*passwords, error) {
	if cost == (passwordCost{}) {
		cost = defaultPasswordCost
	}
	p := &passwords{cost: cost, queue: newQueue(min(4, runtime.GOMAXPROCS(0)), maxWaiting)}
	var err error
	p.decoy, err = p.hash(context.Background(), claimant{}, rand.Text())
	return p, err
}

// hash returns the hash of a password with a new salt, in the PHC string format:
// the cost is part of it, so that it can be raised later.
func (p *passwords) hash(ctx context.Context, who claimant, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key, err := p.derive(ctx, who, password, salt, p.cost, hashBytes)
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.cost.MemoryKiB, p.cost.Passes, p.cost.Threads, encode(salt), encode(key)), nil
}

// matches reports whether a password is the one that was hashed.
func (p *passwords) matches(ctx context.Context, who claimant, password, hash string) (bool, error) {
	cost, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	got, err := p.derive(ctx, who, password, salt, cost, uint32(len(want)))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// matchesNobody takes as long as matches and is false. It is for names that do
// not exist: an answer that came sooner would tell which do.
func (p *passwords) matchesNobody(ctx context.Context, who claimant, password string) (bool, error) {
	_, err := p.matches(ctx, who, password, p.decoy)
	return false, err
}

// derive waits for its turn and does the work.
func (p *passwords) derive(ctx context.Context, who claimant, password string, salt []byte, cost passwordCost, n uint32) ([]byte, error) {
	leave, err := p.queue.enter(ctx, who)
	if err != nil {
		return nil, err
	}
	defer leave()
	return argon2.IDKey([]byte(password), salt, cost.Passes, cost.MemoryKiB, cost.Threads, n), nil
}

// parseHash takes apart what hash has made.
func parseHash(hash string) (cost passwordCost, salt, key []byte, err error) {
	parts := strings.Split(hash, "$") // "", algorithm, version, cost, salt, key
	var version int
	if len(parts) != 6 || parts[1] != "argon2id" {
		return cost, nil, nil, errors.New("password hash is not argon2id")
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
	if len(key) != hashBytes { // with none, every password would match
		return cost, nil, nil, fmt.Errorf("password hash has %d bytes, not %d", len(key), hashBytes)
	}
	return cost, salt, key, nil
}

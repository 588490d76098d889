package main

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"
)

// The conditions that a caller of the store can act on. problemOf knows their
// statuses; the store knows nothing of HTTP.
var (
	errNoSuchUser = errors.New("no such user")
	errNoSuchPost = errors.New("no such post")
	errNameTaken  = errors.New("name is taken")
)

// store keeps people, posts and notifications, in memory. Every method is one
// transaction: it does all of what it says or, with an error, nothing. What a
// method returns is a copy; nobody changes it later.
//
// Concurrency: all methods may be called from several goroutines.
type store struct {
	// mu guards everything below.
	mu       sync.RWMutex
	accounts map[string]*account // by ID
	names    map[string]string   // account ID by name in lower case
	posts    []*postRow          // in the order of their IDs, which begin at 1
	inboxes  map[string]*inbox   // by account ID

	lastComment      int64
	lastNotification int64
}

// user is a person as others see them. The ID is random and says nothing; it is
// what tokens and streams carry, so that a name could change.
type user struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// account is what signing in needs to know of a person.
type account struct {
	user
	PasswordHash string
	// VoidThrough is the latest expiry of the tokens that were signed out.
	VoidThrough time.Time
	// ReadAt is when the account was read from the store.
	ReadAt time.Time
}

func newStore() *store {
	return &store{
		accounts: make(map[string]*account),
		names:    make(map[string]string),
		inboxes:  make(map[string]*inbox),
	}
}

// AddAccount adds a person. Names that differ only in case are the same:
// [errNameTaken].
func (s *store) AddAccount(_ context.Context, name, passwordHash string) (account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(name)
	if _, taken := s.names[key]; taken {
		return account{}, errNameTaken
	}
	a := &account{user: user{ID: rand.Text(), Name: name}, PasswordHash: passwordHash}
	s.accounts[a.ID] = a
	s.names[key] = a.ID
	s.inboxes[a.ID] = new(inbox)
	return a.read(), nil
}

// Account returns the account with an ID, or [errNoSuchUser].
func (s *store) Account(_ context.Context, id string) (account, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.accounts[id]
	if a == nil {
		return account{}, errNoSuchUser
	}
	return a.read(), nil
}

// AccountNamed returns the account with a name, in any case, or [errNoSuchUser].
func (s *store) AccountNamed(_ context.Context, name string) (account, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.accounts[s.names[strings.ToLower(name)]]
	if a == nil {
		return account{}, errNoSuchUser
	}
	return a.read(), nil
}

// EndSessions voids all tokens of a person that were issued until now, and last
// for lifetime.
//
// A token is issued for an account as it was read, with its times: it expires
// lifetime after ReadAt or a second after VoidThrough, whichever is later. Both
// are voided here. So a token that was being issued meanwhile is as void as one
// from before, as long as this method reads the clock after such a ReadAt: it
// does, under the lock.
func (s *store) EndSessions(_ context.Context, userID string, lifetime time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[userID]
	if a == nil {
		return errNoSuchUser
	}
	a.VoidThrough = later(time.Now().Add(lifetime).Truncate(time.Second), a.VoidThrough.Add(time.Second))
	return nil
}

// read returns a copy. The store's lock is held.
func (a *account) read() account {
	copied := *a
	copied.ReadAt = time.Now()
	return copied
}

// userLocked returns a person that a row refers to. People are never removed.
func (s *store) userLocked(id string) user { return s.accounts[id].user }

// now is the time of what is stored, at the precision of a page's clock.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

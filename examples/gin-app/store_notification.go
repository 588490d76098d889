package main

import (
	"context"
	"slices"
	"time"
)

// maxNotifications is how many are kept for a person: the newest.
const maxNotifications = 200

// notice is what a notification says: also the data of its event.
type notice struct {
	ID        int64     `json:"id"`
	PostID    int64     `json:"post_id"`
	Actor     user      `json:"actor"`
	Kind      string    `json:"kind,omitempty"` // of a reaction
	Body      string    `json:"body,omitempty"` // of a comment
	CreatedAt time.Time `json:"created_at"`
}

// notification is a notice to somebody.
type notification struct {
	Recipient string `json:"-"`    // the ID of the post's author
	Type      string `json:"type"` // of the event: eventComment or eventReaction
	Read      bool   `json:"read"`
	notice
}

// readState says what a person has read, for their other tabs.
type readState struct {
	UpTo   int64 `json:"up_to"` // the highest ID that is read
	Unread int   `json:"unread"`
}

// inbox is the notifications of a person, in the order of their IDs. Read is not
// set in them: it follows from readThrough.
type inbox struct {
	list        []notification
	readThrough int64
}

// unread returns how many of those that are kept are unread.
func (in *inbox) unread() int {
	n := 0
	for _, one := range slices.Backward(in.list) {
		if one.ID <= in.readThrough {
			break
		}
		n++
	}
	return n
}

// Notifications returns those of a person after an ID, newest first, and how many
// are unread in all.
func (s *store) Notifications(_ context.Context, userID string, after int64) ([]notification, int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := s.inboxes[userID]
	if in == nil {
		return nil, 0, errNoSuchUser
	}
	list := []notification{}
	for _, one := range slices.Backward(in.list) {
		if one.ID <= after {
			break
		}
		one.Read = one.ID <= in.readThrough
		list = append(list, one)
	}
	return list, in.unread(), nil
}

// ReadNotifications marks as read what a person has at or below an ID, and says
// whether that has changed anything. What comes later is unread, however high the
// ID is.
func (s *store) ReadNotifications(_ context.Context, userID string, upTo int64) (state readState, changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.inboxes[userID]
	if in == nil {
		return readState{}, false, errNoSuchUser
	}
	if upTo = min(upTo, s.lastNotification); upTo > in.readThrough {
		before := in.unread()
		in.readThrough = upTo
		changed = in.unread() != before
	}
	return readState{UpTo: in.readThrough, Unread: in.unread()}, changed, nil
}

// notifyLocked adds a notification for the author of a post and returns it; nil
// if the author is who has acted.
func (s *store) notifyLocked(row *postRow, eventType string, what notice) *notification {
	if row.author == what.Actor.ID {
		return nil
	}
	s.lastNotification++
	what.ID = s.lastNotification
	made := notification{Recipient: row.author, Type: eventType, notice: what}
	in := s.inboxes[row.author]
	in.list = append(in.list, made)
	if surplus := len(in.list) - maxNotifications; surplus > 0 {
		in.list = slices.Delete(in.list, 0, surplus)
	}
	return &made
}

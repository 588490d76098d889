package main

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// maxNotifications is how many are kept for a person: the newest.
const maxNotifications = 200

// notice is what a notification says: also the data of its event.
type notice struct {
	ID          int64     `json:"id"`
	PostID      int64     `json:"post_id"`
	PostExcerpt string    `json:"post_excerpt"` // the beginning of the post; see excerpt
	Actor       user      `json:"actor"`
	Kind        string    `json:"kind,omitempty"` // of a reaction
	Body        string    `json:"body,omitempty"` // of a comment
	CreatedAt   time.Time `json:"created_at"`
}

// maxExcerptRunes is the length of an excerpt.
const maxExcerptRunes = 80

// excerpt returns the beginning of a text on one line, with "…" if there is more.
func excerpt(text string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) <= maxExcerptRunes {
		return string(runes)
	}
	return strings.TrimRight(string(runes[:maxExcerptRunes-1]), " ") + "…"
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

// Notifications returns those of a person after an ID, newest first, and what of
// all is read.
func (s *store) Notifications(ctx context.Context, userID string, after int64) (list []notification, state readState, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if state, err = readStateIn(ctx, tx, userID); err != nil {
			return err
		}
		list, err = notificationsIn(ctx, tx, userID, after, state.UpTo)
		return err
	})
	return list, state, err
}

func notificationsIn(ctx context.Context, tx *sql.Tx, userID string, after, readThrough int64) ([]notification, error) {
	rows, err := tx.QueryContext(ctx, "SELECT n.id, n.type, n.post_id, p.body, a.id, a.name, n.kind, n.body, n.created_at FROM notifications n "+
		"JOIN accounts a ON a.id = n.actor_id JOIN posts p ON p.id = n.post_id WHERE n.recipient_id = ? AND n.id > ? ORDER BY n.id DESC", userID, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []notification{} // [] and not null when empty
	for rows.Next() {
		one := notification{Recipient: userID}
		var createdAt int64
		var postBody string
		err := rows.Scan(&one.ID, &one.Type, &one.PostID, &postBody, &one.Actor.ID, &one.Actor.Name, &one.Kind, &one.Body, &createdAt)
		if err != nil {
			return nil, err
		}
		one.PostExcerpt, one.CreatedAt, one.Read = excerpt(postBody), millis(createdAt), one.ID <= readThrough
		list = append(list, one)
	}
	return list, rows.Err()
}

// readStateIn returns what a person has read, or [errNoSuchUser].
func readStateIn(ctx context.Context, tx *sql.Tx, userID string) (state readState, err error) {
	err = tx.QueryRowContext(ctx, "SELECT read_through, (SELECT count(*) FROM notifications n WHERE n.recipient_id = a.id AND n.id > a.read_through) "+
		"FROM accounts a WHERE a.id = ?", userID).Scan(&state.UpTo, &state.Unread)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoSuchUser
	}
	return state, err
}

// ReadNotifications marks as read what a person has at or below an ID, and says
// whether that has changed anything. What comes later is unread, however high the
// ID is.
func (s *store) ReadNotifications(ctx context.Context, userID string, upTo int64) (state readState, changed bool, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := readStateIn(ctx, tx, userID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE accounts SET read_through = "+
			"max(read_through, min(?, (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'notifications'))) WHERE id = ?", upTo, userID)
		if err != nil {
			return err
		}
		state, err = readStateIn(ctx, tx, userID)
		changed = state.Unread != before.Unread
		return err
	})
	return state, changed, err
}

// addNotificationIn adds a notification for the author of a post and returns it; nil if the
// author is the actor. The oldest of those that are too many goes.
func addNotificationIn(ctx context.Context, tx *sql.Tx, about postHead, eventType string, what notice) (*notification, error) {
	recipientID := about.AuthorID
	if recipientID == what.Actor.ID {
		return nil, nil //nolint:nilnil // nothing to tell
	}
	what.PostExcerpt = excerpt(about.Body)
	err := tx.QueryRowContext(ctx, "INSERT INTO notifications (recipient_id, type, post_id, actor_id, kind, body, created_at) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
		recipientID, eventType, what.PostID, what.Actor.ID, what.Kind, what.Body, what.CreatedAt.UnixMilli()).Scan(&what.ID)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM notifications WHERE recipient_id = ?1 AND id <= "+
		"(SELECT id FROM notifications WHERE recipient_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)", recipientID, maxNotifications)
	return &notification{Recipient: recipientID, Type: eventType, notice: what}, err
}

package main

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/ginsse/ginsse"
)

// maxNotifications is how many notifications of a user are kept. The oldest are deleted.
const maxNotifications = 200

// notificationData is the content of a notification. It is also the data of its event.
type notificationData struct {
	ID          int64     `json:"id"`
	PostID      int64     `json:"post_id"`
	PostExcerpt string    `json:"post_excerpt"` // the first words of the post; see excerpt
	Actor       user      `json:"actor"`
	Kind        string    `json:"kind,omitempty"` // of a reaction
	Body        string    `json:"body,omitempty"` // of a comment
	CreatedAt   time.Time `json:"created_at"`
}

// maxExcerptRunes is the maximum length of an excerpt, with its "…".
const maxExcerptRunes = 80

// excerpt returns the beginning of a text in one line. It ends in "…" if text was removed.
func excerpt(text string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) <= maxExcerptRunes {
		return string(runes)
	}
	return strings.TrimRight(string(runes[:maxExcerptRunes-1]), " ") + "…"
}

// notification is a notification in a user's list.
type notification struct {
	Type string `json:"type"` // the type of its event: eventComment or eventReaction
	Read bool   `json:"read"`
	notificationData
}

// readState is the badge: how many notifications a user has not read. All tabs of the user get it as
// an event. A log that is not in the database may get two of them in the wrong order. Both IDs only
// grow, so they are the version: of two states, the one with a lower ID is older.
type readState struct {
	Unread int   `json:"unread"`
	UpTo   int64 `json:"up_to"`  // notifications up to this ID are read
	Newest int64 `json:"newest"` // ID of the newest notification, or 0
}

// Notifications returns the notifications of a user with IDs higher than after, newest first, and
// the user's read state. Errors: [errNoSuchUser].
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
		"JOIN accounts a ON a.id = n.actor_id JOIN posts p ON p.id = n.post_id WHERE n.recipient_id = $1 AND n.id > $2 ORDER BY n.id DESC", userID, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []notification{} // not nil: an empty list must be [] in JSON
	for rows.Next() {
		var n notification
		var createdAt int64
		var postBody string
		err := rows.Scan(&n.ID, &n.Type, &n.PostID, &postBody, &n.Actor.ID, &n.Actor.Name, &n.Kind, &n.Body, &createdAt)
		if err != nil {
			return nil, err
		}
		n.PostExcerpt, n.CreatedAt, n.Read = excerpt(postBody), millis(createdAt), n.ID <= readThrough
		list = append(list, n)
	}
	return list, rows.Err()
}

// readStateIn returns the read state of a user, or [errNoSuchUser].
func readStateIn(ctx context.Context, tx *sql.Tx, userID string) (state readState, err error) {
	err = tx.QueryRowContext(ctx, "SELECT read_through, (SELECT count(*) FROM notifications n WHERE n.recipient_id = a.id AND n.id > a.read_through), "+
		"(SELECT coalesce(max(id), 0) FROM notifications n WHERE n.recipient_id = a.id) FROM accounts a WHERE a.id = $1", userID).
		Scan(&state.UpTo, &state.Unread, &state.Newest)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoSuchUser
	}
	return state, err
}

// ReadNotifications marks a user's notifications up to an ID as read, and returns the new read
// state. If that differs from the old one, it sends the new one to all tabs of the user. A later
// notification is always unread, even if upTo is higher than its ID.
func (s *store) ReadNotifications(ctx context.Context, userID string, upTo int64) (state readState, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		if err := tx.lockAccount(ctx, userID); err != nil {
			return err
		}
		before, err := readStateIn(ctx, tx.Tx, userID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE accounts SET read_through = $1 WHERE id = $2", max(before.UpTo, min(upTo, before.Newest)), userID)
		if err != nil {
			return err
		}
		state, err = readStateIn(ctx, tx.Tx, userID)
		if err != nil || state == before {
			return err
		}
		return sendUnread(ctx, tx, userID, state)
	})
	return state, err
}

// sendUnread sends a user's read state to all tabs of the user. The log keeps only the newest.
func sendUnread(ctx context.Context, tx *transaction, userID string, state readState) error {
	return tx.events.SendTo(ctx, userID, ginsse.Event{Type: eventUnread, Key: eventUnread, Data: state})
}

// notifyIn adds a notification for the author of a post, and sends it with the new read state. It does
// nothing if the actor is the author. It deletes the oldest if there are more than maxNotifications.
func notifyIn(ctx context.Context, tx *transaction, about postHead, eventType string, data notificationData) error {
	recipientID := about.AuthorID
	if recipientID == data.Actor.ID {
		return nil
	}
	// One after the other, so that a notification never has a lower ID than one that was seen.
	if err := tx.lockAccount(ctx, recipientID); err != nil {
		return err
	}
	data.PostExcerpt = excerpt(about.Body)
	err := tx.QueryRowContext(ctx, "INSERT INTO notifications (recipient_id, type, post_id, actor_id, kind, body, created_at) "+
		"VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
		recipientID, eventType, data.PostID, data.Actor.ID, data.Kind, data.Body, data.CreatedAt.UnixMilli()).Scan(&data.ID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM notifications WHERE recipient_id = $1 AND id <= "+
		"(SELECT id FROM notifications WHERE recipient_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)", recipientID, maxNotifications)
	if err != nil {
		return err
	}
	if err := tx.events.SendTo(ctx, recipientID, ginsse.Event{Type: eventType, Data: data}); err != nil {
		return err
	}
	state, err := readStateIn(ctx, tx.Tx, recipientID)
	if err != nil {
		return err
	}
	return sendUnread(ctx, tx, recipientID, state)
}

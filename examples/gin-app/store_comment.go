package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// maxComments is how many comments a post includes. Clients ask for earlier ones.
const maxComments = 200

// comment is a comment on a post.
type comment struct {
	ID        int64     `json:"id"`
	PostID    int64     `json:"post_id"`
	Author    user      `json:"author"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at"`
}

// AddComment adds a comment and the notification for the author of the post. The notification
// is nil if the comment's author is the author of the post.
//
// If an earlier request with this key added the comment, AddComment returns that comment and
// false; see [createOnceIn]. Errors: [errNoSuchPost], [errKeyReused].
func (s *store) AddComment(ctx context.Context, postID int64, authorID, body, key string) (made comment, added bool, notified *notification, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		about, err := postHeadIn(ctx, tx, postID)
		if err != nil {
			return err
		}
		author, err := userIn(ctx, tx, authorID)
		if err != nil {
			return err
		}
		made = comment{PostID: postID, Author: author, Body: body}
		request := fmt.Sprintf("comment on %d: %s", postID, body)
		made.ID, made.CreatedAt, added, err = createOnceIn(ctx, tx, authorID, key, request, func(at time.Time) (id int64, err error) {
			err = tx.QueryRowContext(ctx, "INSERT INTO comments (post_id, author_id, body, created_at) VALUES (?, ?, ?, ?) RETURNING id",
				postID, authorID, body, at.UnixMilli()).Scan(&id)
			return id, err
		})
		if err != nil || !added {
			return err
		}
		notified, err = addNotificationIn(ctx, tx, about, eventComment, notificationData{PostID: postID, Actor: author, Body: body, CreatedAt: made.CreatedAt})
		return err
	})
	return made, added, notified, err
}

// Comments returns the last comments on a post with IDs lower than before. There are at most
// limit, oldest first. Errors: [errNoSuchPost].
func (s *store) Comments(ctx context.Context, postID, before int64, limit int) (comments []comment, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := postHeadIn(ctx, tx, postID); err != nil {
			return err
		}
		comments, err = commentsIn(ctx, tx, postID, before, limit)
		return err
	})
	return comments, err
}

func commentsIn(ctx context.Context, tx *sql.Tx, postID, before int64, limit int) ([]comment, error) {
	rows, err := tx.QueryContext(ctx, "SELECT c.id, a.id, a.name, c.body, c.created_at FROM comments c "+
		"JOIN accounts a ON a.id = c.author_id WHERE c.post_id = ? AND c.id < ? ORDER BY c.id DESC LIMIT ?", postID, before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	comments := []comment{} // not nil: an empty list must be [] in JSON
	for rows.Next() {
		c := comment{PostID: postID}
		var createdAt int64
		if err := rows.Scan(&c.ID, &c.Author.ID, &c.Author.Name, &c.Body, &createdAt); err != nil {
			return nil, err
		}
		c.CreatedAt = millis(createdAt)
		comments = append(comments, c)
	}
	slices.Reverse(comments)
	return comments, rows.Err()
}
